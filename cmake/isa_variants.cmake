# moe_add_isa_variants(SOURCE): one object library for each instruction set. Sets in the caller
#   MOE_ISA_OBJECTS  generator expressions to add to the addon
#   MOE_ISA_DEFS     MOE_HAVE_<isa> definitions for the dispatcher
function(moe_add_isa_variants source)
  set(isas baseline)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT "${CMAKE_OSX_ARCHITECTURES}" MATCHES "arm64")
    list(APPEND isas avx2 avx2vnni avx512 avx512vnni avx512bf16)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64" OR "${CMAKE_OSX_ARCHITECTURES}" MATCHES "arm64")
    set(isas neon neondot) # neon is part of every 64-bit ARM
  endif()
  set(flags_neondot -march=armv8.2-a+dotprod)
  set(flags_avx2 -mavx2 -mfma -mf16c)
  set(flags_avx2vnni ${flags_avx2} -mavxvnni)
  set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
  set(flags_avx512vnni ${flags_avx512} -mavx512vnni)
  set(flags_avx512bf16 ${flags_avx512vnni} -mavx512bf16)
  foreach(isa IN LISTS isas)
    add_library(moe_kernels_${isa} OBJECT ${source})
    target_include_directories(moe_kernels_${isa} PRIVATE csrc)
    target_compile_definitions(moe_kernels_${isa} PRIVATE MOE_ISA=${isa})
    # Which products are fused into their sums may not depend on what the optimiser put beside them. Clang promises
    # that of one expression only with `on`; GCC has no `on`, and its `fast` fuses wherever it can.
    # -Wno-psabi: vectors only cross calls inside the unit. MinGW's GCC aligns stacks to 16 bytes and still uses
    # aligned moves of wider vectors (its bug 54412).
    target_compile_options(moe_kernels_${isa} PRIVATE ${flags_${isa}}
                           $<$<BOOL:${MINGW}>:-Wa,-muse-unaligned-vector-move> -O3 -fno-exceptions -fno-rtti
                           -ffp-contract=$<IF:$<CXX_COMPILER_ID:Clang,AppleClang>,on,fast> -fno-math-errno -Wall -Wextra -Wno-psabi)
    list(APPEND objects $<TARGET_OBJECTS:moe_kernels_${isa}>)
    list(APPEND defs MOE_HAVE_${isa})
  endforeach()
  set(MOE_ISA_OBJECTS "${objects}" PARENT_SCOPE)
  set(MOE_ISA_DEFS "${defs}" PARENT_SCOPE)
endfunction()
