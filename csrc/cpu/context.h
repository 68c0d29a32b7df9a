#pragma once
// What every `run_cpu` includes: the context and the table of kernels in it.

#include "core/context.h"
#include "cpu/isa/kernels.h"
