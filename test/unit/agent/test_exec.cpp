#include "unit/agent/test_exec.hpp"

namespace microvm::agent {
namespace {

std::string zero_ended(const std::vector<std::string>& strings) {
  std::string joined;
  for (const auto& text : strings) joined += text + '\0';
  return joined;
}

}  // namespace

TestExec& TestExec::open(const Options& options) {
  microvm_agent_ExecRequest request = microvm_agent_ExecRequest_init_zero;
  copy_text(request.id, options.id);
  request.keep = options.keep;
  request.detached = options.detached;
  request.attempt = options.attempt;
  request.stdin_open = options.stdin_open;
  request.timeout_ms = options.timeout_ms;
  client.send_message(FrameType::exec_open, microvm_agent_ExecRequest_fields, &request);
  client.send(FrameType::arguments, zero_ended(options.argv));
  client.send(FrameType::environment, zero_ended({"PATH=/usr/bin:/bin"}));
  read_answer();
  return *this;
}

TestExec& TestExec::attach(const microvm_agent_ExecAttachRequest& request) {
  client.send_message(FrameType::exec_attach, microvm_agent_ExecAttachRequest_fields, &request);
  read_answer();
  return *this;
}

TestExec& TestExec::attach(const std::string& id, bool write, std::optional<uint64_t> position) {
  microvm_agent_ExecAttachRequest request = microvm_agent_ExecAttachRequest_init_zero;
  copy_text(request.id, id);
  request.write = write;
  request.continues = position.has_value();
  request.position = position.value_or(0);
  return attach(request);
}

void TestExec::read_answer() {
  const auto frame = client.read();
  failure = failure_of(frame);
  if (!frame) return;
  if (frame->type == FrameType::exited)
    exited = decode<microvm_agent_Exited>(*frame, microvm_agent_Exited_fields);
  if (frame->type == FrameType::started)
    started = decode<microvm_agent_Started>(*frame, microvm_agent_Started_fields);
}

bool TestExec::step() {
  const auto frame = client.read();
  if (!frame) return false;
  if (frame->type == FrameType::stdout_data) out += frame->body;
  if (frame->type == FrameType::stderr_data) err += frame->body;
  if (frame->type == FrameType::pty_lost)
    lost += decode<microvm_agent_PtyLost>(*frame, microvm_agent_PtyLost_fields)->bytes;
  if (frame->type == FrameType::pty_role)
    role = decode<microvm_agent_PtyRole>(*frame, microvm_agent_PtyRole_fields);
  if (frame->type == FrameType::exited)
    exited = decode<microvm_agent_Exited>(*frame, microvm_agent_Exited_fields);
  return true;
}

bool TestExec::read_until(const std::string& text) {
  while (out.find(text) == std::string::npos) {
    if (exited || !step()) return false;
  }
  return true;
}

TestExec& TestExec::finish() {
  while (!exited && step()) {
  }
  return *this;
}

TestExec::Options sh(const std::string& script) {
  return {.argv = {"sh", "-c", script}};
}

std::vector<microvm_agent_ExecInfo> list_execs(Guest& guest) {
  OperationClient client(guest);
  client.send(FrameType::exec_list);
  std::vector<microvm_agent_ExecInfo> infos;
  for (auto frame = client.read(); frame && frame->type == FrameType::exec_info;
       frame = client.read())
    infos.push_back(*decode<microvm_agent_ExecInfo>(*frame, microvm_agent_ExecInfo_fields));
  return infos;
}

microvm_agent_ExecInfo info_of(Guest& guest, const std::string& id) {
  for (const auto& info : list_execs(guest)) {
    if (info.id == id) return info;
  }
  return microvm_agent_ExecInfo_init_zero;
}

std::optional<Frame> signal_exec(Guest& guest, int signal, const std::string& id, bool forget) {
  OperationClient client(guest);
  microvm_agent_ExecSignalRequest request = microvm_agent_ExecSignalRequest_init_zero;
  copy_text(request.id, id);
  request.signal = static_cast<uint32_t>(signal);
  request.forget = forget;
  client.send_message(FrameType::exec_signal, microvm_agent_ExecSignalRequest_fields, &request);
  return client.read();
}

void send_exec_wait(OperationClient& client, const std::string& id) {
  microvm_agent_ExecWaitRequest request = microvm_agent_ExecWaitRequest_init_zero;
  copy_text(request.id, id);
  client.send_message(FrameType::exec_wait, microvm_agent_ExecWaitRequest_fields, &request);
}

}  // namespace microvm::agent
