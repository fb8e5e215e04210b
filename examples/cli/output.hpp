// What the CLI prints for people: one-line errors, tables, sizes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "microvm/error.hpp"

namespace cli {

// On stderr as it is. Lost when that takes no more, where fmt::print would throw.
void say(std::string_view text);
// "microvm: <message>" on stderr.
void print_error(std::string_view message);
// The same; returns `exit_code`.
int fail(const microvm::Error& error, int exit_code = 1);

// Columns as wide as their widest cell, the first row is the heading.
void print_table(const std::vector<std::vector<std::string>>& rows);

std::string human_size(uint64_t bytes);
// "3 minutes ago" of an RFC 3339 time; the text itself when it is none.
std::string human_age(const std::string& rfc3339);

}  // namespace cli
