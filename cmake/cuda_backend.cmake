# libmoe_cuda: the CUDA backend, where a CUDA compiler is. Beside the addon and opened at run time, so
# that the addon loads on every machine. MOE_CUDA=AUTO never fails the build.
if(MOE_CUDA STREQUAL "OFF")
  file(REMOVE ${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/libmoe_cuda.so) # of an earlier build
  return()
endif()
# check_language looks in PATH and $CUDACXX only.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(MOE_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda /opt/cuda PATH_SUFFIXES bin)
  if(MOE_NVCC)
    set(CMAKE_CUDA_COMPILER ${MOE_NVCC})
  endif()
endif()
# Before any CUDA target: they initialise its properties. With architectures given, no GPU is needed.
set(CMAKE_CUDA_ARCHITECTURES ${MOE_CUDA_ARCHS})
set(CMAKE_CUDA_STANDARD 17) # for the compiler check alone
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(MOE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MOE_CUDA=ON, but there is no working CUDA compiler (set CUDACXX or CUDA_HOME)")
  endif()
  message(STATUS "moe-native: no CUDA compiler: this build runs on the CPU only")
  return()
endif()
enable_language(CUDA)
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20") # which CMake 3.25 does not know of nvcc 13

file(GLOB MOE_CUDA_SOURCES CONFIGURE_DEPENDS cuda/*.cu cuda/*/*.cu)
add_library(moe_cuda SHARED ${MOE_CUDA_SOURCES} csrc/core/os_arc4random.cc)
target_include_directories(moe_cuda PRIVATE cuda/device cuda csrc)
# The launcher keeps what ptxas says beside each object, for test/support/cuda_gates.ts. 20012: defaulted
# functions of host types need no __device__.
set_target_properties(moe_cuda PROPERTIES CUDA_STANDARD 20 CUDA_EXTENSIONS OFF CUDA_SEPARABLE_COMPILATION OFF CUDA_VISIBILITY_PRESET hidden
  CUDA_COMPILER_LAUNCHER "${CMAKE_CURRENT_SOURCE_DIR}/scripts/keep_ptxas_log.sh")
target_compile_options(moe_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-O3 -Xptxas=-v
  -Xfatbin=-compress-all --expt-relaxed-constexpr -diag-suppress=20012 -Xcompiler=-Wall>)
target_link_options(moe_cuda PRIVATE -Wl,-z,nodelete -static-libstdc++
  -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cmake/exports_backend.map)
