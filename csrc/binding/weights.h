#pragma once

#include "binding/handles.h"
#include "weights/weight.h"

namespace moe {

class WeightHandle : public Napi::ObjectWrap<WeightHandle> {
 public:
  static inline const napi_type_tag kTag = random_tag();
  static Napi::Function define(Napi::Env env);
  explicit WeightHandle(const Napi::CallbackInfo& info);

  Weight weight;

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value format(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  void map(const Napi::CallbackInfo& info);
  void pin(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);
};

/// undefined and null give an empty weight.
Weight read_weight(const Napi::Value& value);

/// Adds the class and what fills weights and tensors while a model is loaded.
void define_weights(Napi::Env env, Napi::Object exports);

}  // namespace moe
