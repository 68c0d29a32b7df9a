# libmoe_cuda_sim: the CUDA backend's sources compiled by the host's compiler, on a simulated GPU. For
# tests and learning; the package does not carry it.
if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/cuda/sim OR NOT MOE_CUDA_SIM)
  return()
endif()
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" OR NOT UNIX OR APPLE)
  return() # the simulator switches stacks in x86-64 assembly
endif()
file(GLOB MOE_CUDA_SOURCES CONFIGURE_DEPENDS cuda/*.cu)
file(GLOB MOE_SIM_SOURCES CONFIGURE_DEPENDS cuda/sim/*.cc)
set_source_files_properties(${MOE_CUDA_SOURCES} PROPERTIES LANGUAGE CXX)
add_library(moe_cuda_sim SHARED ${MOE_CUDA_SOURCES} ${MOE_SIM_SOURCES})
target_include_directories(moe_cuda_sim PRIVATE cuda/sim cuda csrc)
# A fiber leaves frames without returning, and its kernels read unions as nvcc does.
target_compile_options(moe_cuda_sim PRIVATE -x c++ -O2 -Wall -Wextra -Wno-unknown-pragmas
                       -fno-strict-aliasing)
target_link_options(moe_cuda_sim PRIVATE -Wl,-z,nodelete
                    -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cmake/exports_backend.map)
target_link_libraries(moe_cuda_sim PRIVATE Threads::Threads)
if(NOT MOE_SANITIZE)
  target_link_options(moe_cuda_sim PRIVATE -static-libstdc++)
endif()
