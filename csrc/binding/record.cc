#include "binding/record.h"

#include <cmath>
#include <cstring>

#include "binding/weights.h"
#include "ops/all.h"

namespace moe {
namespace {

/// Where an error is: an op and its field.
struct Place {
  const char *op, *field;

  [[noreturn]] void must(const std::string& expected, const Napi::Value& got) const {
    fail(Code::option, op, ": ", field, " must be ", expected, ", got ", shown(got));
  }
};

template <class Enum>
std::string one_of() {
  std::string list;
  for (const char* name : EnumNames<Enum>::names)
    list += (list.empty() ? "" : " | ") + std::string(name);
  return list;
}

// One overload for each type of field, with its name in TypeScript.

std::string type_of(const Tensor&) { return "Tensor"; }
void read_field(const Napi::Value& value, Tensor& field, Place place) {
  if (!is_handle<TensorHandle>(value)) place.must("a tensor", value);
  field = read_tensor(value);
  if (!field) place.must("a tensor", value);
}

std::string type_of(const Weight&) { return "Weight"; }
void read_field(const Napi::Value& value, Weight& field, Place place) {
  if (!is_handle<WeightHandle>(value)) place.must("a weight", value);
  field = read_weight(value);
}

std::string type_of(float) { return "number"; }
void read_field(const Napi::Value& value, float& field, Place place) {
  if (!value.IsNumber() || !std::isfinite(value.As<Napi::Number>().DoubleValue()))
    place.must("a finite number", value);
  field = value.As<Napi::Number>().FloatValue();
}

std::string type_of(int64_t) { return "number"; }
void read_field(const Napi::Value& value, int64_t& field, Place place) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(std::abs(number) <= 0x1p53) || number != std::trunc(number))
    place.must("a whole number", value);
  field = static_cast<int64_t>(number);
}

std::string type_of(bool) { return "boolean"; }
void read_field(const Napi::Value& value, bool& field, Place place) {
  if (!value.IsBoolean()) place.must("true or false", value);
  field = value.As<Napi::Boolean>();
}

template <class Enum>
  requires std::is_enum_v<Enum>
std::string type_of(Enum) {
  return EnumNames<Enum>::type;
}
template <class Enum>
  requires std::is_enum_v<Enum>
void read_field(const Napi::Value& value, Enum& field, Place place) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  for (size_t i = 0; i < std::size(EnumNames<Enum>::names); ++i)
    if (name == EnumNames<Enum>::names[i]) return void(field = static_cast<Enum>(i));
  place.must("one of " + one_of<Enum>(), value);
}

/// Flags.
std::string type_of(const std::vector<uint8_t>&) { return "readonly boolean[]"; }
void read_field(const Napi::Value& value, uint8_t& field, Place place) {
  bool flag = false;
  read_field(value, flag, place);
  field = flag;
}

template <class Item>
std::string type_of(const std::vector<Item>&) {
  return "readonly " + type_of(Item{}) + "[]";
}
template <class Item>
void read_field(const Napi::Value& value, std::vector<Item>& field, Place place) {
  if (!value.IsArray()) place.must("a list", value);
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const std::string name = text(place.field, "[", i, "]");
    read_field(list.Get(i), field.emplace_back(), {place.op, name.c_str()});
  }
}

template <class Op>
Napi::Value record(Napi::Env env, Plan& plan, const Napi::Object& given) {
  Op op{};
  for_each_field<Op>([&](const auto& field) {
    if (field.made()) return;
    const Napi::Value value = given.Get(field.name);
    if (value.IsUndefined() && !field.required()) return;
    read_field(value, op.*field.member, {Op::kName, field.name});
  });
  const Napi::Array keys = given.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const std::string key = keys.Get(i).ToString().Utf8Value();
    bool known = false;
    for_each_field<Op>([&](const auto& field) { known |= !field.made() && key == field.name; });
    if (!known) fail(Code::option, Op::kName, ": ", key, " must be absent: there is no such field");
  }
  const Op& recorded = plan.record(std::move(op));
  const auto outputs = Napi::Object::New(env);
  for_each_field<Op>([&](const auto& field) {
    if constexpr (std::is_same_v<decltype(field.member), Tensor Op::*>)
      if (const Tensor& tensor = recorded.*field.member; field.made() && tensor)
        outputs.Set(field.name, TensorHandle::wrap(env, tensor));
  });
  return outputs;
}

const char* role_name(Role role) {
  constexpr const char* names[] = {"input",  "optional", "update", "optionalUpdate",
                                   "output", "extra",    "value",  "setting"};
  return names[static_cast<int>(role)];
}

/// Adds the names of an enum that a field may have.
template <class Type>
void describe_type(Napi::Object enums, const Type&) {
  if constexpr (std::is_enum_v<Type>) {
    const auto names = Napi::Array::New(enums.Env());
    for (const char* name : EnumNames<Type>::names) names.Set(names.Length(), name);
    enums.Set(EnumNames<Type>::type, names);
  }
}
template <class Item>
void describe_type(Napi::Object enums, const std::vector<Item>&) {
  describe_type(enums, Item{});
}

}  // namespace

Napi::Value record_op(Napi::Env env, Plan& plan, const Napi::Value& name,
                      const Napi::Value& given) {
  const std::string wanted = name.IsString() ? name.As<Napi::String>().Utf8Value() : "";
  if (!given.IsObject() || given.IsArray() || given.IsFunction())
    fail(Code::option, wanted, ": fields must be an object, got ", shown(given));
  Napi::Value outputs;
  AllOps::for_each([&]<class Op>(Op*) {
    if (wanted == Op::kName) outputs = record<Op>(env, plan, given.As<Napi::Object>());
  });
  if (outputs.IsEmpty())
    fail(Code::option, "plan: op must be one of csrc/ops/all.h, got ", shown(name));
  return outputs;
}

Napi::Value describe_ops(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto ops = Napi::Array::New(env);
  const auto enums = Napi::Object::New(env);
  describe_type(enums, SampleOption{});  // of columns
  describe_type(enums, SampleCount{});
  AllOps::for_each([&]<class Op>(Op*) {
    const auto fields = Napi::Array::New(env);
    for_each_field<Op>([&](const auto& field) {
      const auto one = Napi::Object::New(env);
      one.Set("name", field.name);
      one.Set("role", role_name(field.role));
      one.Set("type", type_of(Op{}.*field.member));
      fields.Set(fields.Length(), one);
      describe_type(enums, Op{}.*field.member);
    });
    const auto op = Napi::Object::New(env);
    op.Set("name", Op::kName);
    op.Set("fields", fields);
    ops.Set(ops.Length(), op);
  });
  const auto result = Napi::Object::New(env);
  result.Set("ops", ops);
  result.Set("enums", enums);
  result.Set("blockTokens", static_cast<double>(kBlockTokens));
  return result;
}

std::string shown(const Napi::Value& value) {
  if (value.IsString()) {
    const std::string content = value.As<Napi::String>().Utf8Value();
    return '"' + (content.size() > 80 ? content.substr(0, 80) + "…" : content) + '"';
  }
  if (value.IsNumber() || value.IsBoolean() || value.IsBigInt() || value.IsNull() ||
      value.IsUndefined())
    return value.ToString().Utf8Value();
  if (value.IsFunction()) return "a function";
  if (value.IsArray()) return text("a list of ", value.As<Napi::Array>().Length());
  if (value.IsSymbol()) return "a symbol";
  return "an object";
}

}  // namespace moe
