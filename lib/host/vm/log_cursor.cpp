#include "host/vm/log_cursor.hpp"

#include <algorithm>

#include "wire/log_size.hpp"

namespace microvm::host {

std::optional<uint64_t> LogCursor::must_begin_at(const wire::LogsReply& place) const {
  if (!position_ || life_ == place.life || *position_ <= place.life_begin) return std::nullopt;
  return place.life_begin;
}

void LogCursor::begin_stream(const std::optional<wire::LogsReply>& place) {
  skip_ = 0;
  if (place) {
    if (unplaced_ > 0) skip_ = place->life_begin - std::min(place->begin, place->life_begin);
    position_ = place->begin;
    life_ = place->life;
  } else {
    skip_ = std::min<uint64_t>(unplaced_, wire::kMaxLogBytes);
    position_.reset();
    life_ = 0;
  }
  unplaced_ = 0;
}

std::string_view LogCursor::pass(std::string_view piece) {
  if (position_)
    *position_ += piece.size();
  else
    unplaced_ += piece.size();
  const uint64_t skipped = std::min<uint64_t>(skip_, piece.size());
  skip_ -= skipped;
  return piece.substr(skipped);
}

std::string LogCursor::pass_rest(const LogText& log) {
  if (unplaced_ > 0) return {};
  const uint64_t known = position() > log.begin ? position() - log.begin : 0;
  if (known >= log.text.size()) {
    position_ = std::max(position(), log.begin);
    return {};
  }
  position_ = log.begin + log.text.size();
  return log.text.substr(known);
}

}  // namespace microvm::host
