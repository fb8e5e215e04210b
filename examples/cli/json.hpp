// The library's facts as JSON. What writes it takes seconds to compile, so that its header is known
// to json.cpp alone: all others see this page.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "microvm/image.hpp"
#include "microvm/vm.hpp"

namespace cli {

// A value to be printed; its fields stay in the order they were given in. Copies share what they
// hold until one is changed.
class Json {
 public:
  struct Field;

  Json(std::nullptr_t = nullptr);
  Json(std::initializer_list<Field> fields);  // an object
  Json(const std::string& text);
  Json(const char* text);
  Json(bool flag);
  Json(double number);
  template <std::integral Number>
  Json(Number number) : Json(of(static_cast<Widest<Number>>(number))) {}
  template <class Item>
  Json(const std::vector<Item>& items) : Json(of(std::vector<Json>(items.begin(), items.end()))) {}
  Json(const std::map<std::string, std::string>& texts);
  static Json object();  // with no field yet

  // On an object.
  void set(const std::string& key, const Json& value);
  // Without its end.
  [[nodiscard]] std::string line() const;

 private:
  friend void print_json(const Json& value);

  template <class Number>
  using Widest = std::conditional_t<std::is_signed_v<Number>, int64_t, uint64_t>;

  explicit Json(nlohmann::ordered_json&& value);
  static Json of(int64_t number);
  static Json of(uint64_t number);
  static Json of(const std::vector<Json>& items);

  std::shared_ptr<nlohmann::ordered_json> value_;  // never null, except when moved from
};

struct Json::Field {
  std::string key;
  Json value;
};

void print_json(const Json& value);
void print_json(const microvm::ImageInfo& image);
void print_json(const std::vector<microvm::KernelInfo>& kernels);
void print_json(const std::vector<microvm::BaseInfo>& bases);
void print_json(const std::vector<microvm::ImageInfo>& images);
void print_json(const std::vector<microvm::VmInfo>& vms);

Json to_json(const microvm::KernelInfo& kernel);
Json to_json(const microvm::BaseInfo& base);
Json to_json(const microvm::Hooks& hooks);
Json to_json(const microvm::ImageInfo& image);
Json to_json(const microvm::VmInfo& vm);
Json to_json(const microvm::NetworkCounters& counters);

}  // namespace cli
