#pragma once

#include "core/device.h"

namespace moe {

/// A run's inputs on their way to a GPU and its results on their way back, through pinned memory
/// that is the run's until they have arrived. Two can be under way, ended in order: the second one
/// waits on the GPU while the host reads what the first gave. Engine thread only.
class DeviceRun {
 public:
  static constexpr int kUnderWay = 2;

  explicit DeviceRun(std::shared_ptr<Device> device);
  /// Of a run that failed before its end: waits for what it has asked for.
  ~DeviceRun();
  DeviceRun(const DeviceRun&) = delete;
  DeviceRun& operator=(const DeviceRun&) = delete;

  /// `from` may be reused at once.
  void upload(void* to, const void* from, size_t bytes);
  struct Copy {
    void* to;
    const void* from;
    size_t bytes;
  };
  /// The run's last part. Results that have no room in pinned memory are waited for here.
  void download(std::vector<Copy> copies);

  /// Whether finish() would not wait, or would fail.
  bool arrived() const;
  /// Waits for the results and puts them where they belong.
  void finish();

 private:
  std::byte* uploads() const;
  std::byte* results() const;

  std::shared_ptr<Device> device_;
  int place_;
  size_t uploaded_ = 0;
  std::vector<Copy> copies_;  // that are under way
  bool marked_ = false, ended_ = false;
};

}  // namespace moe
