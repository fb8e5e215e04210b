// The library's facts as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "microvm/image.hpp"
#include "microvm/vm.hpp"

namespace cli {

using Json = nlohmann::ordered_json;

void print_json(const Json& value);

Json to_json(const microvm::KernelInfo& kernel);
Json to_json(const microvm::BaseInfo& base);
Json to_json(const microvm::Hooks& hooks);
Json to_json(const microvm::ImageInfo& image);
Json to_json(const microvm::VmInfo& vm);

}  // namespace cli
