#include "core/device_run.h"

#include <algorithm>
#include <cstring>

namespace moe {
namespace {

constexpr size_t kRoom = size_t{1} << 20;  // for inputs, and as much for results
constexpr size_t kAlign = 64;

}  // namespace

DeviceRun::DeviceRun(std::shared_ptr<Device> device) : device_(std::move(device)) {
  if (!device_->runs_)
    device_->runs_ = static_cast<std::byte*>(device_->allocate_pinned(2 * kRoom * kUnderWay));
  place_ = device_->run_turn_;
  device_->run_turn_ = (place_ + 1) % kUnderWay;
}

DeviceRun::~DeviceRun() {
  if (ended_) return;
  try {
    device_->synchronize();
  } catch (const Error&) {  // whoever failed has said it
  }
}

std::byte* DeviceRun::uploads() const {
  return device_->runs_ + 2 * kRoom * static_cast<size_t>(place_);
}
std::byte* DeviceRun::results() const { return uploads() + kRoom; }

void DeviceRun::upload(void* to, const void* from, size_t bytes) {
  if (bytes > kRoom - uploaded_) return device_->upload(to, from, bytes);
  std::byte* pinned = uploads() + uploaded_;
  std::memcpy(pinned, from, bytes);
  device_->upload(to, pinned, bytes);
  uploaded_ = std::min(kRoom, (uploaded_ + bytes + kAlign - 1) / kAlign * kAlign);
}

void DeviceRun::download(std::vector<Copy> copies) {
  size_t bytes = 0;
  for (const Copy& copy : copies) bytes += copy.bytes;
  if (bytes > kRoom) {
    for (const auto& [to, from, size] : copies) device_->download(to, from, size);
    device_->synchronize();
    ended_ = true;
    return;
  }
  std::byte* pinned = results();
  for (const auto& [to, from, size] : copies) {
    device_->download(pinned, from, size);
    pinned += size;
  }
  Device::check(device_->backend_.set_mark(device_->gpu_, place_));
  copies_ = std::move(copies);
  marked_ = true;
}

bool DeviceRun::arrived() const {
  if (ended_ || !marked_) return true;
  bool yes = true;
  return device_->backend_.passed_mark(device_->gpu_, place_, &yes) || yes;
}

void DeviceRun::finish() {
  if (ended_) return;
  Device::check(device_->backend_.await_mark(device_->gpu_, place_));
  ended_ = true;
  const std::byte* pinned = results();
  for (const auto& [to, from, bytes] : copies_) {
    std::memcpy(to, pinned, bytes);
    pinned += bytes;
  }
}

}  // namespace moe
