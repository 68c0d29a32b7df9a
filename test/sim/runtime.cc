// The CUDA runtime's functions on the host. Eight GPUs, so that a test picks a schedule and a
// generation by the device's index:
//   bit 0: warps and blocks in descending order   bit 1: asynchronous work lands late
//   0 to 3: sm_90   4, 5: sm_80   6, 7: sm_120, with the shared memory that sm_86 and sm_89 have

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "block.h"
#include "streams.h"

namespace moe::sim {

namespace {

constexpr int kDevices = 8, kRuntime = 13000;
constexpr size_t kUsualShared = 48 << 10;  // without asking for more

struct Generation {
  int major;
  size_t shared;  // bytes that a block may have
};
Generation generation_of(int device) {
  if (device < 4) return {9, 227 << 10};
  return device < 6 ? Generation{8, 163 << 10} : Generation{12, 99 << 10};
}

thread_local int current_device = 0;
std::mutex mutex;
size_t used = 0, used_pinned = 0;
std::map<const char*, size_t> pinned;  // host memory that copies may read or write later
std::map<std::pair<int, const void*>, int> allowed_shared;  // by device and kernel

size_t capacity() { return setting("MOE_SIM_MEMORY", size_t{4} << 30); }
int driver() { return static_cast<int>(setting("MOE_SIM_DRIVER", kRuntime)); }

bool is_pinned(const void* memory) {
  const std::lock_guard lock(mutex);
  const char* at = static_cast<const char*>(memory);
  auto after = pinned.upper_bound(at);
  return after != pinned.begin() && at < (--after)->first + after->second;
}

Schedule schedule_of(int device) { return {(device & 1) != 0, (device & 2) != 0}; }

const char* record_file() {
  static const char* file = std::getenv("MOE_SIM_RECORD");
  return file;
}

void record_line(const std::string& line) {
  const std::lock_guard lock(mutex);
  if (std::FILE* file = std::fopen(record_file(), "a")) {
    std::fprintf(file, "{%s}\n", line.c_str());
    std::fclose(file);
  }
}

}  // namespace

bool recording() { return record_file(); }

cudaError_t record(const cudaLaunchConfig_t& config, const std::string& arguments) {
  const auto [x, y, z] = config.gridDim;
  const dim3& block = config.blockDim;
  record_line("\"grid\":[" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) +
              "],\"threads\":" + std::to_string(block.x * block.y * block.z) +
              ",\"shared\":" + std::to_string(config.dynamicSmemBytes) + arguments);
  return cudaSuccess;
}

size_t setting(const char* name, size_t usual) {
  const char* value = std::getenv(name);
  return value ? std::strtoull(value, nullptr, 10) : usual;
}

cudaError_t allow_shared(const void* kernel, int bytes) {
  const std::lock_guard lock(mutex);
  if (static_cast<size_t>(bytes) > generation_of(current_device).shared)
    return cudaErrorInvalidValue;
  allowed_shared[{current_device, kernel}] = bytes;
  return cudaSuccess;
}

cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config,
                   std::function<void()> thread) {
  Stream& stream = *config.stream;
  const dim3 grid = config.gridDim, block = config.blockDim;
  const size_t shared = config.dynamicSmemBytes;
  const unsigned threads = block.x * block.y * block.z;
  if (setting("MOE_SIM_IMAGE", 1) == 0) return cudaErrorNoKernelImageForDevice;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 ||
      shared > generation_of(stream.device).shared)
    return cudaErrorInvalidValue;
  if (shared > kUsualShared) {
    const std::lock_guard lock(mutex);
    const auto allowed = allowed_shared.find({stream.device, kernel});
    if (allowed == allowed_shared.end() || shared > static_cast<size_t>(allowed->second))
      return cudaErrorInvalidValue;
  }
  return stream.submit([=, &stream, thread = std::move(thread)] {
    run_grid(grid, block, shared, schedule_of(stream.device), thread, stream.settled);
  });
}

}  // namespace moe::sim

using moe::sim::Event;
using moe::sim::Graph;
using moe::sim::Stream;

cudaError_t cudaGetDeviceCount(int* count) {
  if (moe::sim::driver() < moe::sim::kRuntime) return cudaErrorInsufficientDriver;
  *count = static_cast<int>(moe::sim::setting("MOE_SIM_GPUS", moe::sim::kDevices));
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= moe::sim::kDevices) return cudaErrorInvalidDevice;
  moe::sim::current_device = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const auto generation = moe::sim::generation_of(device);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = static_cast<int>(moe::sim::setting("MOE_SIM_MULTIPROCESSORS", 4));
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = generation.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(generation.shared);
      return cudaSuccess;
  }
  return cudaErrorInvalidValue;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device == static_cast<int>(moe::sim::setting("MOE_SIM_BROKEN", moe::sim::kDevices)))
    return cudaErrorInvalidDevice;
  const auto schedule = moe::sim::schedule_of(device);
  const int major = moe::sim::generation_of(device).major;
  std::snprintf(properties->name, sizeof properties->name, "simulated sm_%d, %s, %s", 10 * major,
                schedule.descending ? "descending" : "ascending", schedule.late ? "late" : "early");
  properties->totalGlobalMem = moe::sim::capacity();
  properties->major =
      static_cast<int>(moe::sim::setting("MOE_SIM_MAJOR", static_cast<size_t>(major)));
  properties->minor = 0;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = moe::sim::driver();
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = moe::sim::kRuntime;
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available for execution on the device";
    case cudaErrorLaunchFailure:
      return moe::sim::last_failure();
    default:
      return "invalid argument";
  }
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const std::lock_guard lock(moe::sim::mutex);
  if (moe::sim::used + bytes > moe::sim::capacity()) return cudaErrorMemoryAllocation;
  // Nothing is ever written to what a recording allocates, which may be more than memory.
  *memory = moe::sim::recording() ? std::aligned_alloc(256, (bytes + 255) / 256 * 256)
                                  : moe::sim::device_allocate(bytes);
  if (!*memory) return cudaErrorMemoryAllocation;
  if (!moe::sim::recording())
    std::memset(*memory, 0xff, bytes);
  else if (bytes <= 4096)
    std::memset(*memory, 0, bytes);
  moe::sim::used += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (!memory || moe::sim::recording()) return cudaSuccess;
  moe::sim::wait_for_streams();
  const size_t bytes = moe::sim::device_free(memory);
  const std::lock_guard lock(moe::sim::mutex);
  moe::sim::used -= bytes;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  const std::lock_guard lock(moe::sim::mutex);
  if (moe::sim::used_pinned + bytes > moe::sim::setting("MOE_SIM_PINNED", size_t{1} << 40))
    return cudaErrorMemoryAllocation;
  // Kernels may read it, so what they do there is checked as in the device's memory.
  *memory = moe::sim::recording() ? std::malloc(bytes) : moe::sim::device_allocate(bytes);
  if (!*memory) return cudaErrorMemoryAllocation;
  moe::sim::pinned[static_cast<char*>(*memory)] = bytes;
  moe::sim::used_pinned += bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  const std::lock_guard lock(moe::sim::mutex);
  const auto held = moe::sim::pinned.find(static_cast<char*>(memory));
  moe::sim::used_pinned -= held->second;
  moe::sim::pinned.erase(held);
  if (moe::sim::recording())
    std::free(memory);
  else
    moe::sim::device_free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(moe::sim::mutex);
  *total = moe::sim::capacity();
  *free = *total - std::min(moe::sim::used, *total);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const auto copy = [=](const void* source) {
    std::memcpy(to, source, bytes);
    if (kind != cudaMemcpyDeviceToHost) moe::sim::forget_writes(to, bytes);
  };
  const bool later = stream->late && !stream->capturing;
  if (kind == cudaMemcpyDeviceToHost) {
    const bool waits = later && !moe::sim::is_pinned(to);
    if (later && !waits) std::memset(to, 0xff, bytes);  // whoever reads it now finds nothing
    const cudaError_t error = stream->submit([=] { copy(from); });
    return waits && error == cudaSuccess ? stream->wait() : error;
  }
  if (!later || moe::sim::is_pinned(from) || moe::sim::device_has(from))
    return stream->submit([=] { copy(from); });
  const auto* values = static_cast<const char*>(from);
  return stream->submit(
      [copy, held = std::vector<char>(values, values + bytes)] { copy(held.data()); });
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  if (moe::sim::recording()) return cudaSuccess;
  return stream->submit([=] {
    std::memset(memory, value, bytes);
    moe::sim::forget_writes(memory, bytes);
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const int device = moe::sim::current_device;
  *stream = new Stream(device, moe::sim::schedule_of(device).late);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (moe::sim::recording()) moe::sim::record_line("\"synchronized\":1");
  const cudaError_t error = stream->wait();
  stream->settled = moe::sim::next_serial();
  return error;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event{};
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return stream->record(event);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  // Whoever asks often enough has waited.
  static const size_t most = moe::sim::setting("MOE_SIM_QUERIES", 20);
  if (!event->passed && ++event->asked < most) return cudaErrorNotReady;
  return cudaEventSynchronize(event);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return event->stream ? event->stream->wait(event) : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->at - from->at).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->capturing = new Graph;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(stream->capturing, nullptr);
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new Graph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return stream->launch(*exec);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
