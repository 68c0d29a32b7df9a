#include "binding/handles.h"

#include <cstring>

#include "core/device.h"

namespace moe {

DType read_dtype(const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  for (DType dtype : {DType::f32, DType::bf16, DType::f16, DType::i32, DType::u8})
    if (name == dtype_name(dtype)) return dtype;
  fail(Code::dtype, "tensor: dtype must be f32 | bf16 | f16 | i32 | u8, got ", name);
}

Shape read_shape(const Napi::Value& value) {
  if (!value.IsArray()) fail(Code::shape, "tensor: shape must be an array");
  const auto array = value.As<Napi::Array>();
  Shape shape;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const double dim = array.Get(i).ToNumber().DoubleValue();
    if (!(dim >= 0 && dim <= 0x1p40)) fail(Code::shape, "tensor: shape must be sizes, got ", dim);
    shape.push(static_cast<int64_t>(dim));
  }
  return shape;
}

Tensor read_tensor(const Napi::Value& value) {
  if (value.IsUndefined() || value.IsNull()) return {};
  return unwrap<TensorHandle>(value, "tensor")->tensor;
}

std::shared_ptr<Device> read_device(const Napi::Value& value) {
  if (value.IsUndefined() || value.IsNull()) return nullptr;
  return unwrap<DeviceHandle>(value, "device")->device;
}

CancelFlag read_cancel(const Napi::Value& value) {
  if (value.IsUndefined() || value.IsNull()) return nullptr;
  return unwrap<CancelHandle>(value, "cancel token")->flag;
}

namespace {

/// The array that holds elements of `dtype`: its bits are read as they are.
napi_typedarray_type array_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return napi_float32_array;
    case DType::i32:
      return napi_int32_array;
    case DType::u8:
      return napi_uint8_array;
    default:
      return napi_uint16_array;
  }
}

}  // namespace

Tensor tensor_from(const Napi::TypedArray& array, const Shape& shape, DType dtype,
                   std::shared_ptr<Device> device) {
  if (array.ElementSize() != dtype_bytes(dtype) ||
      static_cast<int64_t>(array.ElementLength()) != shape.count())
    fail(Code::shape, "tensor: data must have ", shape.count(), " elements of ", dtype_bytes(dtype),
         " bytes, got ", array.ElementLength(), " of ", int{array.ElementSize()});
  if (array.TypedArrayType() != array_of(dtype))
    fail(Code::dtype, "tensor: data must be the typed array of ", dtype_name(dtype));
  Tensor tensor = make_tensor(shape, dtype, device);
  const auto* bytes =
      static_cast<const std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  if (device)
    device->initialize(tensor.as<std::byte>(), bytes, array.ByteLength());
  else if (array.ByteLength() > 0)  // an empty array has no address
    std::memcpy(tensor.as<std::byte>(), bytes, array.ByteLength());
  return tensor;
}

namespace {

// Below this, a copy is cheaper than a finalizer.
constexpr size_t kSmall = 16 << 10;

Napi::Value view(Napi::Env env, const Napi::ArrayBuffer& memory, size_t count, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return Napi::Float32Array::New(env, count, memory, 0);
    case DType::i32:
      return Napi::Int32Array::New(env, count, memory, 0);
    case DType::u8:
      return Napi::Uint8Array::New(env, count, memory, 0);
    default:
      return Napi::Uint16Array::New(env, count, memory, 0);
  }
}

}  // namespace

Napi::Value to_typed_array(Napi::Env env, std::shared_ptr<Buffer> buffer, size_t count,
                           DType dtype) {
  const size_t bytes = count * dtype_bytes(dtype);
  napi_value array_buffer = nullptr;
  const auto copy = [&] {
    auto memory = Napi::ArrayBuffer::New(env, bytes);
    if (bytes) std::memcpy(memory.Data(), buffer->data(), bytes);
    return memory;
  };
  if (bytes < kSmall) return view(env, copy(), count, dtype);
  auto* holder = new std::shared_ptr<Buffer>(buffer);
  const auto release = [](napi_env, void*, void* hint) {
    delete static_cast<std::shared_ptr<Buffer>*>(hint);
  };
  if (napi_create_external_arraybuffer(env, buffer->data(), bytes, release, holder,
                                       &array_buffer) != napi_ok) {
    // Some runtimes (Electron) forbid memory from outside the JavaScript heap.
    delete holder;
    array_buffer = copy();
  }
  return view(env, Napi::ArrayBuffer(env, array_buffer), count, dtype);
}

Napi::Function TensorHandle::define(Napi::Env env) {
  return DefineClass(env, "Tensor",
                     {InstanceAccessor<&TensorHandle::shape>("shape"),
                      InstanceAccessor<&TensorHandle::dtype>("dtype"),
                      InstanceAccessor<&TensorHandle::bytes>("bytes"),
                      InstanceMethod<&TensorHandle::columns>("columns"),
                      InstanceMethod<&TensorHandle::view>("view"),
                      InstanceMethod<&TensorHandle::set_rows>("setRows"),
                      InstanceMethod<&TensorHandle::release>("release")});
}

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Value TensorHandle::wrap(Napi::Env env, Tensor tensor) {
  const Napi::Object object = Channel::of(env).tensor_class.New({});
  Unwrap(object)->tensor = std::move(tensor);
  return object;
}

Napi::Value TensorHandle::shape(const Napi::CallbackInfo& info) {
  const auto array = Napi::Array::New(info.Env());
  for (int i = 0; i < tensor.shape.rank(); ++i)
    array.Set(static_cast<uint32_t>(i),
              Napi::Number::New(info.Env(), static_cast<double>(tensor.dim(i))));
  return array;
}

Napi::Value TensorHandle::dtype(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), dtype_name(tensor.dtype));
}

Napi::Value TensorHandle::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(tensor.bytes()));
}

Napi::Value TensorHandle::columns(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t start = info[0].ToNumber().Int64Value(), count = info[1].ToNumber().Int64Value();
    if (tensor.shape.rank() != 2) fail(Code::shape, "columns: tensor must have 2 dimensions");
    if (start < 0 || count < 0 || start + count > tensor.dim(1))
      fail(Code::option, "columns: range must be inside ", tensor.dim(1), ", got ", start, " + ",
           count);
    Tensor slice = tensor;
    slice.offset += static_cast<size_t>(start) * dtype_bytes(tensor.dtype);
    slice.shape = {tensor.dim(0), count};
    return wrap(info.Env(), slice);
  });
}

/// view(start, shape, dtype): elements of a list from `start` on, as another shape and a dtype of
/// the same size.
Napi::Value TensorHandle::view(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t start = info[0].ToNumber().Int64Value();
    Tensor part = tensor;
    part.shape = read_shape(info[1]);
    part.dtype = read_dtype(info[2]);
    if (tensor.shape.rank() != 1)
      fail(Code::shape, "view: tensor must have 1 dimension, got ", tensor.shape.text());
    if (dtype_bytes(part.dtype) != dtype_bytes(tensor.dtype))
      fail(Code::dtype, "view: dtype must be as wide as ", dtype_name(tensor.dtype), ", got ",
           dtype_name(part.dtype));
    if (start < 0 || start + part.shape.count() > tensor.dim(0))
      fail(Code::option, "view: range must be inside ", tensor.dim(0), ", got ", start, " + ",
           part.shape.count());
    part.offset += static_cast<size_t>(start) * dtype_bytes(tensor.dtype);
    part.row_stride = part.last();
    return wrap(info.Env(), part);
  });
}

/// setRows(count): of a matrix that has no memory yet.
void TensorHandle::set_rows(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const int64_t rows = info[0].ToNumber().Int64Value();
    if (!tensor || tensor.shape.rank() != 2 || tensor.slot->data() || rows < 0)
      fail(Code::shape, "setRows: tensor must be a matrix without memory, and rows at least 0");
    tensor.shape = {rows, tensor.dim(1)};
    tensor.slot->bytes = tensor.bytes();
  });
}

/// Frees the memory now, for this handle and all its views. Only after the last run that uses it.
void TensorHandle::release(const Napi::CallbackInfo&) {
  if (!tensor) return;
  if (tensor.slot->buffer) tensor.slot->buffer->release();
  tensor.slot->external = nullptr;
  tensor.slot->owner.reset();
}

Napi::Function CancelHandle::define(Napi::Env env) {
  return DefineClass(env, "CancelToken", {InstanceMethod<&CancelHandle::cancel>("cancel")});
}

CancelHandle::CancelHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Function DeviceHandle::define(Napi::Env env) {
  return DefineClass(env, "Device", {InstanceMethod<&DeviceHandle::free_memory>("freeMemory")});
}

/// Device(type, index): cuda or cuda-sim.
DeviceHandle::DeviceHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(), [&] {
    device = Device::open(info[0].ToString().Utf8Value(), info[1].ToNumber().Int32Value());
  });
}

Napi::Value DeviceHandle::free_memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(), static_cast<double>(device->free_memory()));
  });
}

Napi::Function FileHandle::define(Napi::Env env) {
  return DefineClass(env, "MappedFile",
                     {InstanceAccessor<&FileHandle::bytes>("bytes"),
                      InstanceMethod<&FileHandle::make_tensor>("tensor"),
                      InstanceMethod<&FileHandle::read>("read")});
}

FileHandle::FileHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(), [&] {
    if (!info[0].IsArray() || info[0].As<Napi::Array>().Length() == 0)
      fail(Code::option, "MappedFile: parts must be a list of paths");
    const auto paths = info[0].As<Napi::Array>();
    std::vector<std::string> parts;
    for (uint32_t i = 0; i < paths.Length(); ++i)
      parts.push_back(paths.Get(i).ToString().Utf8Value());
    file_ = MappedFile::open(parts);
  });
}

Napi::Value FileHandle::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(file_->bytes()));
}

/// read(offset, length): a copy of the bytes.
Napi::Value FileHandle::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto offset = static_cast<size_t>(info[0].ToNumber().DoubleValue());
    const auto length = static_cast<int64_t>(info[1].ToNumber().DoubleValue());
    const Tensor view = file_->tensor(offset, {length}, DType::u8);
    auto copy = Napi::Uint8Array::New(info.Env(), static_cast<size_t>(length));
    std::memcpy(copy.Data(), view.as<std::byte>(), static_cast<size_t>(length));
    file_->verify();
    return copy;
  });
}

Napi::Value FileHandle::make_tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto offset = static_cast<size_t>(info[0].ToNumber().DoubleValue());
    return TensorHandle::wrap(info.Env(),
                              file_->tensor(offset, read_shape(info[1]), read_dtype(info[2])));
  });
}

}  // namespace moe
