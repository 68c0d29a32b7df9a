#include <napi.h>

#include "binding/handles.h"
#include "binding/plan.h"
#include "binding/record.h"
#include "core/os.h"
#include "cpu/isa/select.h"
#include "cpu/machine.h"
#include "weights/pack.h"
#include "weights/random.h"
#include "weights/rope_table.h"

namespace moe {
namespace {

Napi::Value nothing(Napi::Env env) { return env.Undefined(); }

CpuContext load_context() { return {kernels(), Pool::get(), Pool::get().size()}; }

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
    for (const MoeGpuInfo& gpu : found) {
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

/// tensor(shape, dtype, layout, device): zeroed; a packed one gets its memory when it is packed.
Napi::Value tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Shape shape = read_shape(info[0]);
    const DType dtype = read_dtype(info[1]);
    const Layout layout = read_layout(info[2]);
    std::shared_ptr<Device> device = read_device(info[3]);
    if (layout == Layout::rows)
      return TensorHandle::wrap(info.Env(), make_tensor(shape, dtype, layout, device));
    if (shape.rank() != 2)
      fail(Code::shape, "tensor: a packed weight must be [N, K], got ", shape.text());
    if (layout == Layout::gate_up && shape[0] % 2)
      fail(Code::shape, "tensor: a gate_up weight must have an even number of rows, got ",
           shape.text());
    Tensor packed;
    packed.slot = std::make_shared<Slot>();
    packed.slot->buffer = std::make_shared<Buffer>(0, device);
    packed.slot->bytes = tensor_bytes(shape, dtype, layout, device.get());
    packed.shape = shape;
    packed.dtype = dtype;
    packed.layout = layout;
    packed.row_stride = packed.last();
    return TensorHandle::wrap(info.Env(), packed);
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

/// pack(out, [source, start, count][], cancel)
Napi::Value pack_weight(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    std::vector<RowRun> runs;
    const auto list = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
      const auto run = list.Get(i).As<Napi::Array>();
      runs.push_back({read_tensor(run.Get(0u)), run.Get(1u).ToNumber().Int64Value(),
                      run.Get(2u).ToNumber().Int64Value()});
    }
    const CancelFlag cancel = read_cancel(info[2]);
    return Channel::of(info.Env())
        .run(info.Env(), cancel, [out, runs, cancel]() mutable -> Channel::Result {
          if (cancel && cancel->load()) fail(Code::cancelled, "cancelled");
          pack(load_context(), out, runs);
          for (const RowRun& run : runs) release_pages(run.source);
          return nothing;
        });
  });
}

/// copy(out, source, cancel)
Napi::Value copy_tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    const Tensor source = read_tensor(info[1]);
    const CancelFlag cancel = read_cancel(info[2]);
    return Channel::of(info.Env())
        .run(info.Env(), cancel, [out, source, cancel]() mutable -> Channel::Result {
          if (cancel && cancel->load()) fail(Code::cancelled, "cancelled");
          copy_rows(source, out);
          release_pages(source);
          return nothing;
        });
  });
}

/// copyToF32(out, source, at)
Napi::Value copy_vector(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    const Tensor source = read_tensor(info[1]);
    const int64_t at = info[2].ToNumber().Int64Value();
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() mutable -> Channel::Result {
      copy_to_f32(source, out, at);
      return nothing;
    });
  });
}

/// dequantizeGptq(qweight, qzeros, scales, gIdx, bits, out)
Napi::Value dequantize_gptq(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Gptq source{read_tensor(info[0]), read_tensor(info[1]), read_tensor(info[2]),
                      read_tensor(info[3])};
    const int bits = info[4].ToNumber().Int32Value();
    Tensor out = read_tensor(info[5]);
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() mutable -> Channel::Result {
      dequantize(load_context(), source, bits, out);
      for (const Tensor& t : {source.qweight, source.qzeros, source.scales, source.g_idx})
        release_pages(t);
      return nothing;
    });
  });
}

/// ropeTable(out, base, positionScale, 'exact' | 'bf16-frequencies' | 'published')
Napi::Value make_rope_table(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    const double base = info[1].ToNumber().DoubleValue(), scale = info[2].ToNumber().DoubleValue();
    const std::string name = info[3].ToString().Utf8Value();
    const auto rounding = name == "published"          ? RopeRounding::bf16
                          : name == "bf16-frequencies" ? RopeRounding::bf16_frequencies
                                                       : RopeRounding::exact;
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() mutable -> Channel::Result {
      rope_table(out, base, scale, rounding);
      return nothing;
    });
  });
}

/// fillRandom(out, mean, scale, seed)
Napi::Value fill(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    const float mean = info[1].ToNumber().FloatValue(), scale = info[2].ToNumber().FloatValue();
    const auto seed = static_cast<uint64_t>(info[3].ToNumber().Int64Value());
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() mutable -> Channel::Result {
      fill_random(load_context(), out, mean, scale, seed);
      return nothing;
    });
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
  add("pack", pack_weight);
  add("copy", copy_tensor);
  add("copyToF32", copy_vector);
  add("dequantizeGptq", dequantize_gptq);
  add("fillRandom", fill);
  add("probe", run_probe);
  add("ropeTable", make_rope_table);
  add("describeOps", describe_ops);
  return exports;
}

}  // namespace

NODE_API_MODULE(moe_native, init)

}  // namespace moe
