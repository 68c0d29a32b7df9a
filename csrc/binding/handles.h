#pragma once

#include <napi.h>

#include <random>

#include "binding/channel.h"
#include "core/tensor.h"
#include "weights/mapped_file.h"

namespace moe {

/// A type tag made at load: two copies of the addon, whose handles differ, may meet in one process.
inline napi_type_tag random_tag() {
  std::random_device device;
  const auto word = [&] { return uint64_t{device()} << 32 | device(); };
  return {word(), word()};
}

/// ObjectWrap::Unwrap does not look at what it unwraps, so every handle carries a type tag.
template <class Handle>
bool is_handle(const Napi::Value& value) {
  return value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&Handle::kTag);
}

template <class Handle>
Handle* unwrap(const Napi::Value& value, const char* what) {
  if (is_handle<Handle>(value)) return Handle::Unwrap(value.As<Napi::Object>());
  fail(Code::option, "native: argument must be a ", what);
}

class TensorHandle : public Napi::ObjectWrap<TensorHandle> {
 public:
  static inline const napi_type_tag kTag = random_tag();
  static Napi::Function define(Napi::Env env);
  static Napi::Value wrap(Napi::Env env, Tensor tensor);
  explicit TensorHandle(const Napi::CallbackInfo& info);

  Tensor tensor;

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value columns(const Napi::CallbackInfo& info);
  Napi::Value view(const Napi::CallbackInfo& info);
  void set_rows(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);
};

class CancelHandle : public Napi::ObjectWrap<CancelHandle> {
 public:
  static inline const napi_type_tag kTag = random_tag();
  static Napi::Function define(Napi::Env env);
  explicit CancelHandle(const Napi::CallbackInfo& info);

  CancelFlag flag = std::make_shared<std::atomic<bool>>(false);

 private:
  void cancel(const Napi::CallbackInfo&) { flag->store(true); }
};

class FileHandle : public Napi::ObjectWrap<FileHandle> {
 public:
  static inline const napi_type_tag kTag = random_tag();
  static Napi::Function define(Napi::Env env);
  explicit FileHandle(const Napi::CallbackInfo& info);

  const std::shared_ptr<MappedFile>& file() const { return file_; }

 private:
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value make_tensor(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);

  std::shared_ptr<MappedFile> file_;
};

/// A GPU; `undefined` in its place means the CPU.
class DeviceHandle : public Napi::ObjectWrap<DeviceHandle> {
 public:
  static inline const napi_type_tag kTag = random_tag();
  static Napi::Function define(Napi::Env env);
  explicit DeviceHandle(const Napi::CallbackInfo& info);

  std::shared_ptr<Device> device;

 private:
  Napi::Value free_memory(const Napi::CallbackInfo& info);
};

DType read_dtype(const Napi::Value& value);
Shape read_shape(const Napi::Value& value);
std::shared_ptr<Device> read_device(const Napi::Value& value);
Tensor read_tensor(const Napi::Value& value);  // undefined and null give an empty tensor
CancelFlag read_cancel(const Napi::Value& value);

/// Copies a typed array of the tensor's element type into memory it owns.
Tensor tensor_from(const Napi::TypedArray& array, const Shape& shape, DType dtype,
                   std::shared_ptr<Device> device);

/// A typed array over `buffer`, without a copy where the runtime allows it.
Napi::Value to_typed_array(Napi::Env env, std::shared_ptr<Buffer> buffer, size_t count,
                           DType dtype);

}  // namespace moe
