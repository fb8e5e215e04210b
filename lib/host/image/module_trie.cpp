#include "host/image/module_trie.hpp"

#include <algorithm>
#include <iterator>

namespace microvm::host {

namespace {

constexpr uint32_t kMagic = 0xb007f457;
constexpr uint32_t kVersion = 0x00020001;
constexpr uint32_t kHasPrefix = 0x80000000;
constexpr uint32_t kHasValues = 0x40000000;
constexpr uint32_t kHasChildren = 0x20000000;
constexpr size_t kMaxKeyBytes = 1024;  // bounds the depth, too

void append_number(std::string& out, uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift & 0xff);
}

void append_text(std::string& out, std::string_view text) {
  out += text;
  out += '\0';
}

template <class Key>
class TrieWriter {
 public:
  explicit TrieWriter(std::string& out) : out_(out) {}

  // Of the keys [begin, end), sorted, which share their first `depth` characters.
  uint32_t write(const Key* begin, const Key* end, size_t depth) {
    const size_t shared = depth + shared_after(*begin, *(end - 1), depth);
    const Key* const ends_here = begin->first->size() == shared ? begin : nullptr;
    const std::string children =
        write_children(ends_here != nullptr ? begin + 1 : begin, end, shared);
    uint32_t node = static_cast<uint32_t>(out_.size());
    if (shared > depth) {
      node |= kHasPrefix;
      append_text(out_, std::string_view(*begin->first).substr(depth, shared - depth));
    }
    if (!children.empty()) node |= kHasChildren;
    out_ += children;
    if (ends_here != nullptr) {
      node |= kHasValues;
      append_values(*ends_here->second);
    }
    return node;
  }

 private:
  static size_t shared_after(const Key& first, const Key& last, size_t depth) {
    const size_t end = std::min(first.first->size(), last.first->size());
    size_t at = depth;
    while (at < end && (*first.first)[at] == (*last.first)[at]) ++at;
    return at - depth;
  }

  std::string write_children(const Key* begin, const Key* end, size_t depth) {
    if (begin == end) return {};
    const char first = (*begin->first)[depth];
    const char last = (*(end - 1)->first)[depth];
    std::string table = {first, last};
    for (int c = first; c <= last; ++c) {
      const Key* const group = begin;
      while (begin != end && (*begin->first)[depth] == c) ++begin;
      append_number(table, group == begin ? 0 : write(group, begin, depth + 1));
    }
    return table;
  }

  template <class Values>
  void append_values(const Values& values) {
    append_number(out_, static_cast<uint32_t>(values.size()));
    for (const auto& [priority, value] : values) {
      append_number(out_, priority);
      append_text(out_, value);
    }
  }

  std::string& out_;
};

}  // namespace

void ModuleTrie::add(std::string_view key, std::string_view value, uint32_t priority) {
  const bool is_ascii = std::ranges::all_of(key, [](char c) { return c > 0 && c < 0x7f; });
  if (key.empty() || key.size() > kMaxKeyBytes || !is_ascii) return;
  Values& values = keys_[std::string(key)];
  const std::pair<uint32_t, std::string> entry(priority, value);
  const auto place = std::ranges::lower_bound(values, entry);
  if (place == values.end() || *place != entry) values.insert(place, entry);
}

std::string ModuleTrie::write() const {
  using Key = std::pair<const std::string*, const Values*>;
  std::vector<Key> keys;
  keys.reserve(keys_.size());
  for (const auto& [key, values] : keys_) keys.emplace_back(&key, &values);
  std::string out;
  append_number(out, kMagic);
  append_number(out, kVersion);
  append_number(out, 0);
  uint32_t root = static_cast<uint32_t>(out.size());
  if (!keys.empty()) root = TrieWriter<Key>(out).write(keys.data(), keys.data() + keys.size(), 0);
  std::string place;
  append_number(place, root);
  return out.replace(2 * sizeof(uint32_t), sizeof(uint32_t), place);
}

}  // namespace microvm::host
