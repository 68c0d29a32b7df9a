#include <napi.h>

#include "binding/handles.h"
#include "binding/plan.h"
#include "binding/record.h"
#include "binding/weights.h"
#include "core/os.h"
#include "cpu/isa/select.h"
#include "cpu/machine.h"
#include "cpu/score_logits.h"

namespace moe {
namespace {

/// setErrorClass(MoeError): what native code throws.
void set_error_class(const Napi::CallbackInfo& info) {
  Channel::of(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
}

/// cpu(): { isa, isas, threads }
Napi::Value cpu(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto result = Napi::Object::New(info.Env());
    const auto isas = Napi::Array::New(info.Env());
    for (const std::string& name : available_isas()) isas.Set(isas.Length(), name);
    result.Set("isa", kernels().name);
    result.Set("isas", isas);
    result.Set("threads", os::usable_cpus());
    return result;
  });
}

void select(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { select_isa(info[0].ToString().Utf8Value()); });
}

/// gpus(type): { reason, gpus: { name, memoryBytes, capability, driver, runtime }[] }
Napi::Value gpus(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    std::string why;
    const auto found = Device::list(info[0].ToString().Utf8Value(), why);
    const auto list = Napi::Array::New(info.Env());
    for (const Device::Listed& listed : found) {
      const MoeGpuInfo& gpu = listed.info;
      const auto one = Napi::Object::New(info.Env());
      one.Set("name", gpu.name);
      one.Set("memoryBytes", static_cast<double>(gpu.memory));
      one.Set("capability", gpu.capability / 10.0);
      one.Set("driver", gpu.driver / 1000.0);
      one.Set("runtime", gpu.runtime / 1000.0);
      list.Set(list.Length(), one);
    }
    const auto result = Napi::Object::New(info.Env());
    result.Set("reason", why);
    result.Set("gpus", list);
    return result;
  });
}

/// tensor(shape, dtype, device, later): zeroed; `later`: it gets its memory when it is filled.
Napi::Value tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto make = info[3].ToBoolean() ? make_empty_tensor : make_tensor;
    return TensorHandle::wrap(info.Env(),
                              make(read_shape(info[0]), read_dtype(info[1]), read_device(info[2])));
  });
}

/// tensorFrom(data, shape, dtype, device): a copy of a typed array.
Napi::Value copy_array(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!info[0].IsTypedArray()) fail(Code::option, "tensor: data must be a typed array");
    return TensorHandle::wrap(info.Env(),
                              tensor_from(info[0].As<Napi::TypedArray>(), read_shape(info[1]),
                                          read_dtype(info[2]), read_device(info[3])));
  });
}

/// probe(kind, threads): { work, seconds }
Napi::Value run_probe(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string kind = info[0].ToString().Utf8Value();
    const int threads = std::max(1, info[1].ToNumber().Int32Value());
    return Channel::of(info.Env()).run(info.Env(), nullptr, [kind, threads]() -> Channel::Result {
      const Probed probed = probe({kernels(), Pool::get(), threads}, kind);
      return [probed](Napi::Env env) {
        const auto result = Napi::Object::New(env);
        result.Set("work", probed.work);
        result.Set("seconds", probed.seconds);
        return result;
      };
    });
  });
}

/// scoreLogits(logits [T, V], targets [T], other [T, V] | undefined): sums over the rows
Napi::Value score(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Tensor logits = read_tensor(info[0]), targets = read_tensor(info[1]);
    const Tensor other = read_tensor(info[2]);
    if (!logits || !targets)
      fail(Code::option, "scoreLogits: logits and targets must be tensors, got nothing");
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() -> Channel::Result {
      const CpuContext cpu{kernels(), Pool::get(), Pool::get().size()};
      const LogitScores sums = score_logits(cpu, logits, targets, other);
      return [sums](Napi::Env env) {
        const auto result = Napi::Object::New(env);
        result.Set("loss", sums.loss);
        result.Set("otherLoss", sums.other_loss);
        result.Set("divergence", sums.divergence);
        result.Set("agreed", static_cast<double>(sums.agreed));
        return result;
      };
    });
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Channel::install(env);
  const auto tensor_class = TensorHandle::define(env);
  Channel::of(env).tensor_class = Napi::Persistent(tensor_class);
  exports.Set("Tensor", tensor_class);
  exports.Set("CancelToken", CancelHandle::define(env));
  exports.Set("MappedFile", FileHandle::define(env));
  exports.Set("Device", DeviceHandle::define(env));
  exports.Set("Arena", ArenaHandle::define(env));
  exports.Set("Plan", PlanHandle::define(env));
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("setErrorClass", set_error_class);
  add("cpu", cpu);
  add("selectIsa", select);
  add("gpus", gpus);
  add("tensor", tensor);
  add("tensorFrom", copy_array);
  add("probe", run_probe);
  add("scoreLogits", score);
  add("describeOps", describe_ops);
  define_weights(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(moe_native, init)

}  // namespace moe
