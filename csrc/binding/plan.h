#pragma once

#include "binding/handles.h"
#include "core/plan.h"

namespace moe {

class ArenaHandle : public Napi::ObjectWrap<ArenaHandle> {
 public:
  static inline const napi_type_tag kTag = random_tag();
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Arena", {InstanceMethod<&ArenaHandle::release>("release")});
  }
  explicit ArenaHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    info.This().As<Napi::Object>().TypeTag(&kTag);
    guarded(info.Env(), [&] { arena = Arena(read_device(info[0])); });
  }
  void release(const Napi::CallbackInfo&) {
    arena.activations->release();
    arena.inputs->release();
  }

  Arena arena{nullptr};
};

class PlanHandle : public Napi::ObjectWrap<PlanHandle> {
 public:
  static inline const napi_type_tag kTag = random_tag();
  static Napi::Function define(Napi::Env env);
  explicit PlanHandle(const Napi::CallbackInfo& info);

 private:
  Napi::Value input(const Napi::CallbackInfo& info);
  void output(const Napi::CallbackInfo& info);
  Napi::Value record(const Napi::CallbackInfo& info);
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value time(const Napi::CallbackInfo& info);
  Napi::Value time_runs(const Napi::CallbackInfo& info);

  std::shared_ptr<Plan> plan_;
};

}  // namespace moe
