// A writer for the little of ACPI Machine Language that our DSDT needs (ACPI 6.4 chapter 20). Every
// function gives the bytes of one term; terms nest by being arguments of others.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "wire/bytes.hpp"

namespace microvm::vmm::x86_64::aml {

using wire::Bytes;
using Terms = std::initializer_list<Bytes>;

// Names are four characters ("_SB_"), paths root-first with dots ("\\_SB_.VGEN").
Bytes integer(uint64_t value);
Bytes string(std::string_view text);
Bytes path(std::string_view text);
Bytes eisa_id(std::string_view text);  // of the form "PNP0A08"
Bytes package(Terms elements);
Bytes name(std::string_view name, const Bytes& value);
Bytes scope(std::string_view path, Terms body);
Bytes device(std::string_view name, Terms body);
Bytes method(std::string_view name, uint8_t arguments, Terms body);
Bytes notify(std::string_view object, uint8_t value);

// Resource descriptors (ACPI 6.4 §6.4) and the buffer that holds them.
Bytes memory_range(uint32_t address, uint32_t size);
Bytes memory_window(uint32_t address, uint32_t size);  // that a bridge passes on
Bytes bus_range(uint16_t first, uint16_t last);
Bytes port_range(uint16_t first, uint8_t count);
Bytes edge_interrupt(uint32_t gsi);
Bytes resources(Terms descriptors);

Bytes concatenate(Terms parts);

}  // namespace microvm::vmm::x86_64::aml
