#pragma once
// What the kernels and the backend use of CUDA, on the host: the simulator's include path comes
// before CUDA's, so that the same sources compile with the host's compiler alone.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>

#include "memory.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  unsigned x, y, z;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

// The thread that runs now; set by the scheduler.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

// Collectives of a warp, and barriers: block.cc.
void __syncthreads();
int __syncthreads_or(int predicate);
void __syncwarp(unsigned mask = ~0u);
namespace moe::sim {
uint64_t exchange(unsigned mask, uint64_t value, unsigned lane);
unsigned ballot(unsigned mask, bool predicate);
unsigned match(unsigned mask, uint64_t value);
unsigned lane();

template <class T>
T shuffle(unsigned mask, T value, unsigned from) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(mask, bits, from);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace moe::sim

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return moe::sim::shuffle(mask, value, static_cast<unsigned>(from) & 31u);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return moe::sim::shuffle(mask, value, moe::sim::lane() ^ static_cast<unsigned>(bits));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
  const unsigned lane = moe::sim::lane();
  return moe::sim::shuffle(mask, value, lane >= distance ? lane - distance : lane);
}
inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  return moe::sim::ballot(mask, predicate);
}
inline unsigned __match_any_sync(unsigned mask, unsigned value) {
  return moe::sim::match(mask, value);
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
template <class T>
T atomicAdd(T* at, T value) {
  T old;
  moe::sim::before_atomic(at, sizeof old);
  moe::sim::copy_bytes(&old, at, sizeof old);
  value += old;
  moe::sim::copy_bytes(at, &value, sizeof value);
  moe::sim::after_atomic(at);
  return old;
}
inline void __threadfence() { moe::sim::fence(); }
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const uint64_t bytes = low | uint64_t{high} << 32;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
using std::isfinite;
using std::isnan;
template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

// The runtime's functions that the backend calls: runtime.cc.
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorLaunchFailure = 719,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDefault = 4
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int programmaticStreamSerializationAllowed;
  } val;
};
namespace moe::sim {
struct Stream;
struct Graph;
struct Event;
}  // namespace moe::sim
using cudaStream_t = moe::sim::Stream*;
using cudaEvent_t = moe::sim::Event*;
using cudaGraph_t = moe::sim::Graph*;
using cudaGraphNode_t = void*;
using cudaGraphExec_t = moe::sim::Graph*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

namespace moe::sim {
cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config,
                   std::function<void()> thread);
cudaError_t allow_shared(const void* kernel, int bytes);
}  // namespace moe::sim

namespace moe::sim {
/// MOE_SIM_RECORD names a file: launches are written there, a line of JSON each, and not run. For
/// bench/predict, at the sizes of real models: memory is then neither filled nor copied.
bool recording();
cudaError_t record(const cudaLaunchConfig_t& config, const std::string& arguments);

/// What a kernel's arguments say of its work.
template <class... Arguments>
std::string described(const Arguments&... arguments) {
  std::string text;
  const auto add = [&](const char* name, int64_t value) {
    text += std::string(",\"") + name + "\":" + std::to_string(value);
  };
  const auto one = [&](const auto& args) {
    if constexpr (requires { args.groups, args.rows, args.K, args.grid.panels; }) {
      add("rows", args.rows);
      add("groups", args.groups);
      add("K", args.K);
      add("outputs", 64 * args.grid.panels);
      add("grouped", args.offsets != nullptr);
    } else if constexpr (requires { args.T, args.N, args.G, args.D, args.V, args.ranges; }) {
      add("tokens", args.T);
      add("heads", args.N);
      add("keyHeads", args.G);
      add("keyWidth", args.D);
      add("valueWidth", args.V);
    }
  };
  (one(arguments), ...);
  return text;
}
}  // namespace moe::sim

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return moe::sim::allow_shared(reinterpret_cast<const void*>(kernel), bytes);
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  if (moe::sim::recording()) return moe::sim::record(*config, moe::sim::described(arguments...));
  // Arguments are copied at the launch, as CUDA does.
  return moe::sim::launch(
      reinterpret_cast<const void*>(kernel), *config,
      [kernel, copies = std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)] {
        std::apply(kernel, copies);
      });
}
