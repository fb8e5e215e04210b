// Which flows come in: what the policy says, and how many there may be.
#pragma once

#include <optional>
#include <utility>

#include "net/flow/flow_log.hpp"
#include "net/flow/judge.hpp"
#include "net/policy/token_bucket.hpp"

namespace microvm::net {

class Admission;

// The place of one flow among those that may be open.
class FlowPlace {
 public:
  FlowPlace() = default;
  explicit FlowPlace(Admission& admission);
  FlowPlace(FlowPlace&& other) noexcept : admission_(std::exchange(other.admission_, nullptr)) {}
  FlowPlace& operator=(FlowPlace&& other) noexcept {
    std::swap(admission_, other.admission_);
    return *this;
  }
  FlowPlace(const FlowPlace&) = delete;
  FlowPlace& operator=(const FlowPlace&) = delete;
  ~FlowPlace();

 private:
  Admission* admission_ = nullptr;
};

// Why a flow is refused where this process, or the host, has no more of them.
inline constexpr const char* kNoMoreFiles = "limit of open files";

struct Admitted {
  FlowFacts facts;
  Ruling ruling;
  FlowPlace place;
};

class Admission {
 public:
  Admission(Judge& judge, FlowLog& log, wire::NetStatus& status);

  // Those of the judge, after they have changed.
  void renew_limits();

  // None: refused, counted and told.
  std::optional<Admitted> admit(wire::FlowProtocol protocol, const wire::NetEndpoint& remote);
  [[nodiscard]] bool has_room() const { return status_.flows_open < judge_.limits().open_flows; }
  // As the policy is now, of a flow whose first bytes went out, or wait for their name. False: it
  // is over.
  [[nodiscard]] bool judge_again(Admitted& flow) const;
  // Of one that has sent nothing yet, or once it is known what it shows.
  bool judge_shown(Admitted& flow) const;

  void refused_by_rule(const Admitted& flow);
  void refused_by_limit(const Admitted& flow, const char* limit);
  void failed(const Admitted& flow, int error);
  void opened(const Admitted& flow);
  void ended(const Admitted& flow, FlowBytes bytes);
  void count(FlowBytes moved);

 private:
  friend class FlowPlace;

  Judge& judge_;
  FlowLog& log_;
  wire::NetStatus& status_;
  TokenBucket new_flows_;
};

}  // namespace microvm::net
