// The fields of an ExitEvent, for the control wire and for the record of it
// (state/exit_record.hpp).
#pragma once

#include "wire/control.hpp"

namespace microvm::wire {

inline constexpr size_t kMaxText = 4096;  // bytes of text in one field

// `M` is the event or its const form, `C` the direction (fields.hpp).
template <class C, class M>
void exit_fields(C& c, M& m) {
  c.choice(m.reason, ExitEvent::Reason::suspended);
  c.text(m.detail, kMaxText);
  if (!c.grows()) return;
  c.object(m.usage, [](C& inner, auto& used) {
    inner.number(used.exits);
    inner.number(used.cpu_us);
    inner.number(used.lived_us);
  });
}

}  // namespace microvm::wire
