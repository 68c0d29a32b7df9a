#pragma once
// Ops of a plan, made from JavaScript objects. What an op takes is read from its `fields()`.

#include <span>

#include "binding/handles.h"
#include "core/plan.h"

namespace moe {

/// Records the op called `name` with the fields of `given`; returns its outputs by name.
Napi::Value record_op(Napi::Env env, Plan& plan, const Napi::Value& name, const Napi::Value& given);

/// { ops: { name, fields: { name, role, type }[] }[], enums: { [type]: names }, blockTokens }: what
/// lib/ops is made of.
Napi::Value describe_ops(const Napi::CallbackInfo& info);

/// A value in an error's words.
std::string shown(const Napi::Value& value);

}  // namespace moe
