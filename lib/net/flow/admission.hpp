// Which flows come in: what the policy says, and how many there may be.
#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include "net/flow/flow_log.hpp"
#include "net/flow/judge.hpp"
#include "wire/network_setup.hpp"

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
  Judgement judgement;
  FlowPlace place;
};

class Admission {
 public:
  Admission(Judge& judge, FlowLog& log, wire::NetStatus& status)
      : judge_(judge), log_(log), status_(status) {}

  void set_limits(const wire::NetworkLimits& limits) { limits_ = limits; }

  // None: refused, counted and told.
  std::optional<Admitted> admit(wire::FlowProtocol protocol, const wire::NetEndpoint& remote);
  [[nodiscard]] bool has_room() const { return status_.flows_open < limits_.open_flows; }
  // Of a flow that was let in: whether the policy of now allows it as well.
  [[nodiscard]] bool may_stay(const Admitted& admitted, wire::FlowProtocol protocol,
                              const wire::NetEndpoint& remote);
  NameAnswer judge_first_bytes(const wire::NetEndpoint& remote, FrameView bytes, Judgement& about) {
    return judge_.judge_first_bytes(remote, bytes, about);
  }

  void refused_by_rule(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
                       const Judgement& judgement);
  void refused_by_limit(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
                        Judgement judgement, const char* limit);
  void failed(wire::FlowProtocol protocol, const wire::NetEndpoint& remote, Judgement judgement,
              int error);
  void opened(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
              const Judgement& judgement);
  void ended(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
             const Judgement& judgement, FlowBytes bytes);
  void count(FlowBytes moved);

 private:
  friend class FlowPlace;
  bool is_too_soon();

  Judge& judge_;
  FlowLog& log_;
  wire::NetStatus& status_;
  wire::NetworkLimits limits_;
  // Whole flows that may still begin, up to a second's.
  double new_flows_left_ = 0;
  std::chrono::steady_clock::time_point new_flows_at_{};
};

}  // namespace microvm::net
