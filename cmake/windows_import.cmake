# The functions of node.exe that an addon may call, as an import library from Node-API's own lists.
execute_process(COMMAND node -p "require('node-api-headers').def_paths.node_api_def"
                WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE node_def
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
get_filename_component(node_def_folder "${node_def}" DIRECTORY)
file(READ ${node_def_folder}/node_api.def exports)
file(READ ${node_def_folder}/js_native_api.def more)
string(REGEX REPLACE "NAME NODE.EXE[\r\n]+EXPORTS[\r\n]+" "" more "${more}")
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/node.def "${exports}${more}")
execute_process(COMMAND ${MOE_DLLTOOL} -d node.def -l libnode.a
                WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR} COMMAND_ERROR_IS_FATAL ANY)
set(CMAKE_JS_LIB ${CMAKE_CURRENT_BINARY_DIR}/libnode.a)
