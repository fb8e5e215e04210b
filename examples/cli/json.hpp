// The library's facts as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "microvm/image.hpp"
#include "microvm/vm.hpp"

namespace cli {

using Json = nlohmann::ordered_json;

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

}  // namespace cli
