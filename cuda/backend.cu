// The table that csrc/core/backend.h describes.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "context.h"
#include "core/backend.h"
#include "fused/gather_gemm.h"
#include "fused/norm_linear.h"
#include "fused/pair_linear.h"
#include "fused/rope_attention.h"
#include "fused/route.h"
#include "gemm/gemm.h"
#include "ops/all.h"
#include "weights/random.h"

struct MoeGpu {
  int index;
  moe::CudaContext context;
  cudaStream_t setup;  // for what is not in order with the steps
  std::mutex setup_mutex;
  cudaEvent_t notes[2];  // of note_time
  cudaEvent_t marks[2];
};

struct MoeGraph {
  int index;
  cudaGraphExec_t exec;
  size_t kernels;
};

namespace moe {
namespace {

void check(cudaError_t error) { CudaContext::check(error); }

/// Keeps it for the thread.
const MoeFailure* failed(Code code, const std::string& what) {
  thread_local std::string text;
  thread_local MoeFailure failure;
  text = what;
  failure = {static_cast<int>(code), text.c_str()};
  return &failure;
}

/// Runs `body`; null, or what it threw.
template <class Body>
const MoeFailure* guarded(const Body& body) {
  try {
    body();
    return nullptr;
  } catch (const Error& error) {
    return failed(error.code, error.what());
  } catch (const std::exception& error) {
    return failed(Code::device, text("cuda: ", error.what()));
  }
}

/// As guarded(), with the GPU as the thread's current one.
template <class Body>
const MoeFailure* on(int index, const Body& body) {
  return guarded([&] {
    check(cudaSetDevice(index));
    body();
  });
}

/// Says in words what a machine lacks.
const MoeFailure* count(int* gpus) {
  return guarded([&] {
    *gpus = 0;
    int driver = 0, runtime = 0;
    check(cudaDriverGetVersion(&driver));
    check(cudaRuntimeGetVersion(&runtime));
    if (driver == 0) fail(Code::cuda_unavailable, "no NVIDIA driver");
    const cudaError_t error = cudaGetDeviceCount(gpus);
    if (error == cudaErrorInsufficientDriver)
      fail(Code::cuda_unavailable, "an NVIDIA driver for CUDA ", driver / 1000, ".",
           driver % 1000 / 10, ", too old for CUDA ", runtime / 1000);
    if (error != cudaErrorNoDevice) check(error);
  });
}

const MoeFailure* describe(int index, MoeGpuInfo* info) {
  return guarded([&] {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index));
    std::snprintf(info->name, sizeof info->name, "%.127s", properties.name);
    info->memory = properties.totalGlobalMem;
    info->capability = 10 * properties.major + properties.minor;
    check(cudaDriverGetVersion(&info->driver));
    check(cudaRuntimeGetVersion(&info->runtime));
  });
}

const MoeFailure* open(int index, MoeGpu** gpu) {
  return on(index, [&] {
    auto opened = std::make_unique<MoeGpu>();
    opened->index = index;
    CudaContext& context = opened->context;
    const auto attribute = [&](cudaDeviceAttr which) {
      int value = 0;
      check(cudaDeviceGetAttribute(&value, which, index));
      return value;
    };
    context.capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                         attribute(cudaDevAttrComputeCapabilityMinor);
    // Kernels of an older generation run on every newer GPU; tests compare them there.
    if (const char* limit = std::getenv("MOE_CUDA_CAPABILITY"))
      context.capability = std::min(context.capability, std::atoi(limit));
    // Without it a race between two kernels is gone, which tells it from other errors.
    const char* overlap = std::getenv("MOE_CUDA_PDL");
    context.overlap = context.capability >= 90 && !(overlap && std::strcmp(overlap, "off") == 0);
    context.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
    context.shared_bytes = static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
    check(cudaStreamCreateWithFlags(&context.stream, cudaStreamNonBlocking));
    check(cudaStreamCreateWithFlags(&opened->setup, cudaStreamNonBlocking));
    for (cudaEvent_t& note : opened->notes) check(cudaEventCreate(&note));
    for (cudaEvent_t& mark : opened->marks)
      check(cudaEventCreateWithFlags(&mark, cudaEventDisableTiming));
    void* counters = nullptr;
    constexpr size_t kBytes = CudaContext::kCounters * sizeof(unsigned);
    check(cudaMalloc(&counters, kBytes));
    check(cudaMemsetAsync(counters, 0, kBytes, context.stream));
    context.counters = static_cast<unsigned*>(counters);
    try {
      context.warpgroups = has_warpgroups(context);
    } catch (const Error& error) {
      fail(Code::cuda_unavailable, "no kernel of this build runs on it (", error.what(), ")");
    }
    *gpu = opened.release();
  });
}

/// Null memory where none is left.
void allocated(cudaError_t error, void** memory) {
  if (error != cudaErrorMemoryAllocation) return check(error);
  cudaGetLastError();  // it is handled: later calls must not see it
  *memory = nullptr;
}

const MoeFailure* allocate(MoeGpu* gpu, size_t bytes, void** memory) {
  return on(gpu->index, [&] {
    *memory = nullptr;
    allocated(cudaMalloc(memory, bytes), memory);
  });
}

void release(MoeGpu* gpu, void* memory) {
  on(gpu->index, [&] { check(cudaFree(memory)); });
}

const MoeFailure* initialize(MoeGpu* gpu, void* to, const void* from, size_t bytes) {
  return on(gpu->index, [&] {
    const std::lock_guard lock(gpu->setup_mutex);
    check(from ? cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, gpu->setup)
               : cudaMemsetAsync(to, 0, bytes, gpu->setup));
    check(cudaStreamSynchronize(gpu->setup));
  });
}

const MoeFailure* free_memory(MoeGpu* gpu, size_t* bytes) {
  return on(gpu->index, [&] {
    size_t total = 0;
    check(cudaMemGetInfo(bytes, &total));
  });
}

const MoeFailure* allocate_pinned(MoeGpu* gpu, size_t bytes, void** memory) {
  return on(gpu->index, [&] {
    *memory = nullptr;
    allocated(cudaMallocHost(memory, bytes), memory);
  });
}

void free_pinned(MoeGpu* gpu, void* memory) {
  on(gpu->index, [&] { check(cudaFreeHost(memory)); });
}

const MoeFailure* upload(MoeGpu* gpu, void* to, const void* from, size_t bytes) {
  return on(gpu->index, [&] {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, gpu->context.stream));
  });
}

const MoeFailure* download(MoeGpu* gpu, void* to, const void* from, size_t bytes) {
  return on(gpu->index, [&] {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, gpu->context.stream));
  });
}

const MoeFailure* synchronize(MoeGpu* gpu) {
  return on(gpu->index, [&] { check(cudaStreamSynchronize(gpu->context.stream)); });
}

const MoeFailure* set_mark(MoeGpu* gpu, int which) {
  return on(gpu->index, [&] { check(cudaEventRecord(gpu->marks[which], gpu->context.stream)); });
}

const MoeFailure* passed_mark(MoeGpu* gpu, int which, bool* yes) {
  return on(gpu->index, [&] {
    const cudaError_t error = cudaEventQuery(gpu->marks[which]);
    *yes = error != cudaErrorNotReady;
    if (*yes) check(error);
  });
}

const MoeFailure* await_mark(MoeGpu* gpu, int which) {
  return on(gpu->index, [&] { check(cudaEventSynchronize(gpu->marks[which])); });
}

const MoeFailure* note_time(MoeGpu* gpu, bool end) {
  return on(gpu->index, [&] { check(cudaEventRecord(gpu->notes[end], gpu->context.stream)); });
}

const MoeFailure* noted_seconds(MoeGpu* gpu, double* seconds) {
  return on(gpu->index, [&] {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, gpu->notes[0], gpu->notes[1]));
    *seconds = milliseconds / 1000.0;
  });
}

const MoeFailure* begin_capture(MoeGpu* gpu) {
  return on(gpu->index, [&] {
    check(cudaStreamBeginCapture(gpu->context.stream, cudaStreamCaptureModeThreadLocal));
  });
}

const MoeFailure* end_capture(MoeGpu* gpu, MoeGraph** graph) {
  return on(gpu->index, [&] {
    cudaGraph_t captured = nullptr;
    check(cudaStreamEndCapture(gpu->context.stream, &captured));
    cudaGraphExec_t exec = nullptr;
    size_t kernels = 0;
    cudaError_t error = cudaGraphGetNodes(captured, nullptr, &kernels);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&exec, captured, 0);
    cudaGraphDestroy(captured);
    check(error);
    *graph = new MoeGraph{gpu->index, exec, kernels};
  });
}

const MoeFailure* launch(MoeGpu* gpu, MoeGraph* graph) {
  return on(gpu->index, [&] { check(cudaGraphLaunch(graph->exec, gpu->context.stream)); });
}

size_t kernels(const MoeGraph* graph) { return graph->kernels; }

void free_graph(MoeGraph* graph) {
  on(graph->index, [&] { check(cudaGraphExecDestroy(graph->exec)); });
  delete graph;
}

template <class Op>
const MoeFailure* run(MoeGpu* gpu, const void* op) {
  return on(gpu->index, [&] { static_cast<const Op*>(op)->run_cuda(gpu->context); });
}

/// The kernel of that name among a list's ops.
template <class... Ops>
MoeKernel find(OpList<Ops...>, const char* name) {
  MoeKernel found = nullptr;
  ((std::strcmp(name, Ops::kName) == 0 ? void(found = run<Ops>) : void()), ...);
  return found;
}

/// What no layer records by name: what rules make of other ops, and what fills random weights.
using OtherOps = OpList<FillRandom, GatherGemm, NormLinear, PairLinear, RopeAttention, Route>;

MoeKernel kernel(const char* name) {
  const MoeKernel found = find(AllOps{}, name);
  return found ? found : find(OtherOps{}, name);
}

constexpr MoeBackend kBackend{
    .version = kBackendVersion,
    .count = count,
    .describe = describe,
    .open = open,
    .allocate = allocate,
    .free = release,
    .initialize = initialize,
    .free_memory = free_memory,
    .allocate_pinned = allocate_pinned,
    .free_pinned = free_pinned,
    .upload = upload,
    .download = download,
    .synchronize = synchronize,
    .set_mark = set_mark,
    .passed_mark = passed_mark,
    .await_mark = await_mark,
    .note_time = note_time,
    .noted_seconds = noted_seconds,
    .kernel = kernel,
    .begin_capture = begin_capture,
    .end_capture = end_capture,
    .launch = launch,
    .kernels = kernels,
    .free_graph = free_graph,
};

}  // namespace
}  // namespace moe

extern "C" __attribute__((visibility("default"))) const MoeBackend* moe_backend() {
  return &moe::kBackend;
}
