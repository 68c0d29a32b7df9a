#include "core/device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "core/os.h"

namespace moe {
namespace {

constexpr size_t kPiece = size_t{32} << 20;  // long enough that a copy's start does not count

struct Loaded {
  const MoeBackend* backend = nullptr;
  std::string why;  // when there is none
};

Loaded load(const std::string& type) {
  const char* setting = std::getenv("MOE_CUDA");
  if (setting && std::string(setting) == "off") return {nullptr, "switched off by MOE_CUDA=off"};
  const std::string file = os::library_file(type == "cuda" ? "moe_cuda" : "moe_cuda_sim");
  std::string why;
  void* library = os::open_library(os::own_folder() + "/" + file, why);
  if (!library && why.empty())
    return {nullptr, text("this build has no ", type == "cuda" ? "CUDA backend" : "simulator", " (",
                          file, ")")};
  if (!library) return {nullptr, text("the CUDA backend does not load: ", why)};
  const auto get = reinterpret_cast<MoeGetBackend>(os::find_symbol(library, kBackendSymbol));
  if (!get) return {nullptr, text(file, " is no backend of moe-native")};
  const MoeBackend* backend = get();
  if (backend->version != kBackendVersion)
    return {nullptr, text(file, " has version ", backend->version, ", needed is ", kBackendVersion,
                          ": build it again")};
  return {backend, ""};
}

/// Loaded on first use, so that a process that stays on the CPU never looks.
const Loaded& loaded(const std::string& type) {
  static std::mutex mutex;
  static std::map<std::string, Loaded> backends;
  const std::lock_guard lock(mutex);
  auto found = backends.find(type);
  if (found == backends.end()) found = backends.emplace(type, load(type)).first;
  return found->second;
}

constexpr int kOldest = 80;  // bf16 matrix instructions

}  // namespace

std::vector<Device::Listed> Device::list(const std::string& type, std::string& why) {
  const auto& [backend, reason] = loaded(type);
  why = reason;
  if (!backend) return {};
  int count = 0;
  if (const MoeFailure* failure = backend->count(&count)) {
    why = failure->text;
    return {};
  }
  if (count == 0) why = "no NVIDIA GPU";
  std::vector<Listed> gpus(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    Listed& gpu = gpus[static_cast<size_t>(i)];
    if (const MoeFailure* failure = backend->describe(i, &gpu.info))
      gpu = {MoeGpuInfo{"GPU that does not answer", 0, 0, 0, 0}, failure->text};
  }
  return gpus;
}

std::shared_ptr<Device> Device::open(const std::string& type, int index) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int>, std::shared_ptr<Device>> opened;
  const std::lock_guard lock(mutex);
  auto& device = opened[{type, index}];
  if (device) return device;
  std::string why;
  const auto gpus = list(type, why);
  if (gpus.empty()) fail(Code::cuda_unavailable, "device: ", type, " must be usable, got: ", why);
  if (index < 0 || index >= static_cast<int>(gpus.size()))
    fail(Code::cuda_unavailable, "device: ", type, " must have an index below ", gpus.size(),
         ", got ", index);
  const auto& [info, broken] = gpus[static_cast<size_t>(index)];
  if (!broken.empty())
    fail(Code::cuda_unavailable, "device: ", type, ":", index, " must be usable, got: ", broken);
  if (info.capability < kOldest)
    fail(Code::cuda_unavailable, "device: ", type, " must have compute capability ", kOldest / 10,
         ".0 or newer, got ", info.capability / 10, ".", info.capability % 10, " (", info.name,
         ")");
  const MoeBackend& backend = *loaded(type).backend;
  MoeGpu* gpu = nullptr;
  if (const MoeFailure* failure = backend.open(index, &gpu))
    fail(Code::cuda_unavailable, "device: ", type, ":", index,
         " must be usable, got: ", failure->text);
  device.reset(new Device(backend, gpu));
  return device;
}

void* Device::allocate(size_t bytes) {
  void* memory = nullptr;
  check(backend_.allocate(gpu_, bytes, &memory));
  if (!memory)
    fail(Code::out_of_memory, "device memory: ", bytes, " bytes are needed, ", free_memory(),
         " are available");
  try {
    initialize(memory, nullptr, bytes);
  } catch (...) {
    free(memory);
    throw;
  }
  return memory;
}

void* Device::allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  check(backend_.allocate_pinned(gpu_, bytes, &memory));
  if (!memory)
    fail(Code::out_of_memory, "pinned host memory: ", bytes,
         " bytes are needed, the system gives no more");
  return memory;
}

size_t Device::free_memory() {
  size_t bytes = 0;
  check(backend_.free_memory(gpu_, &bytes));
  return bytes;
}

void Device::upload(void* to, const void* from, size_t bytes) {
  if (bytes) check(backend_.upload(gpu_, to, from, bytes));
}

void Device::download(void* to, const void* from, size_t bytes) {
  if (bytes) check(backend_.download(gpu_, to, from, bytes));
}

double Device::time(const std::function<void()>& body) {
  check(backend_.note_time(gpu_, false));
  body();
  check(backend_.note_time(gpu_, true));
  synchronize();
  double seconds = 0;
  check(backend_.noted_seconds(gpu_, &seconds));
  return seconds;
}

void Device::stream(void* to, size_t bytes, size_t unit,
                    const std::function<void(std::byte*, size_t, size_t)>& fill) {
  const size_t piece = std::max(kPiece / unit, size_t{1}) * unit;
  if (piece > kPiece || !staging_) {
    if (piece > kPiece)
      fail(Code::unsupported, "device: a row must be at most ", kPiece, " bytes, got ", unit);
    staging_ = static_cast<std::byte*>(allocate_pinned(2 * kPiece));
  }
  for (size_t begin = 0; begin < bytes; begin += piece) {
    const size_t end = std::min(begin + piece, bytes);
    std::byte* half = staging_ + (staging_turn_ ? kPiece : 0);
    fill(half, begin, end);
    synchronize();  // the other half has arrived, so that it can be filled next
    upload(static_cast<std::byte*>(to) + begin, half, end - begin);
    staging_turn_ = !staging_turn_;
  }
}

MoeKernel Device::kernel(const char* op) {
  const MoeKernel found = backend_.kernel(op);
  if (!found) fail(Code::unsupported, op, ": not on this device");
  return found;
}

Device::Graph Device::capture(const std::function<void()>& body) {
  check(backend_.begin_capture(gpu_));
  MoeGraph* graph = nullptr;
  try {
    body();
  } catch (...) {
    backend_.end_capture(gpu_, &graph);
    if (graph) backend_.free_graph(graph);
    throw;
  }
  check(backend_.end_capture(gpu_, &graph));
  return {graph, backend_.free_graph};
}

}  // namespace moe
