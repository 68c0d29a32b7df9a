# Windows on x64, from Linux: MinGW-w64 GCC, since MSVC has no vector extension.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR AMD64)
find_program(CMAKE_CXX_COMPILER NAMES x86_64-w64-mingw32-g++-posix x86_64-w64-mingw32-g++ REQUIRED)
find_program(MOE_DLLTOOL x86_64-w64-mingw32-dlltool REQUIRED)
