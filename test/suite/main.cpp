// The main program of every test suite: doctest, with a time limit for every case and a reason for
// every case that is skipped. --in-process leaves both out, for a debugger.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "suite/children.hpp"
#include "suite/events.hpp"
#include "suite/skip.hpp"

namespace suite {
namespace {

int event_socket = -1;
pid_t case_process = -1;
std::string skip_reason;

// doctest's console, which also tells the parent; the summary is the parent's.
class Reporter : public doctest::ConsoleReporter {
 public:
  explicit Reporter(const doctest::ContextOptions& options) : ConsoleReporter(options) {}

  void test_run_start() override {}

  void test_case_start(const doctest::TestCaseData& data) override {
    ConsoleReporter::test_case_start(data);
    skip_reason.clear();
    why_.clear();
    Event event;
    event.name = data.m_name;
    event.place = std::string(doctest::skipPathFromFilename(data.m_file.c_str())) + ":" +
                  std::to_string(data.m_line);
    event.limit_s = data.m_timeout;
    tell(event);
  }

  void test_case_exception(const doctest::TestCaseException& exception) override {
    ConsoleReporter::test_case_exception(exception);
    crashed_ = crashed_ || exception.is_crash;
    why_ = (exception.is_crash ? "crashed: " : "threw: ") +
           std::string(exception.error_string.c_str());
  }

  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    ConsoleReporter::test_case_end(stats);
    if (stats.failure_flags & doctest::TestCaseFailureReason::Timeout) why_ = "took too long";
    Event event;
    event.kind = Event::Kind::end;
    event.asserts = stats.numAssertsCurrentTest;
    event.failed_asserts = stats.numAssertsFailedCurrentTest;
    if (!stats.testCaseSuccess) event.failed = why_.empty() ? "a check failed" : why_;
    event.skipped = skip_reason;
    tell(event);
  }

  // doctest calls it when a case crashes, too.
  void test_run_end(const doctest::TestRunStats& /*stats*/) override {
    Event event;
    event.kind = Event::Kind::finished;
    if (!crashed_) tell(event);
  }

 private:
  // Not what a process tells that a case has forked off.
  static void tell(const Event& event) {
    if (::getpid() == case_process) send_event(event_socket, event);
  }

  bool crashed_ = false;
  std::string why_;  // the case failed, where no check did
};

REGISTER_REPORTER("suite", 0, Reporter);

int run_cases(int argc, char** argv, unsigned first, int socket) {
  event_socket = socket;
  case_process = ::getpid();
  doctest::Context context;
  context.setOption("reporters", "suite");
  context.applyCommandLine(argc, argv);
  context.setOption("first", static_cast<int>(first));
  return context.run();
}

void print_summary(const Totals& totals) {
  for (const std::string& skip : totals.skips) std::cout << "[skipped] " << skip << '\n';
  for (const std::string& failure : totals.failures) std::cout << "[failed] " << failure << '\n';
  const size_t failed = totals.failures.size();
  const size_t skipped = totals.skips.size();
  std::cout << "[doctest] test cases: " << totals.passed + failed + skipped << " | "
            << totals.passed << " passed | " << failed << " failed | " << skipped << " skipped\n"
            << "[doctest] assertions: " << totals.asserts << " | "
            << totals.asserts - totals.failed_asserts << " passed | " << totals.failed_asserts
            << " failed |\n";
}

int run(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--in-process") return doctest::Context(argc, argv).run();
  }
  const auto in_child = [&](unsigned first, int socket) {
    return run_cases(argc, argv, first, socket);
  };
  const Totals totals = run_in_children(in_child, std::chrono::seconds(SUITE_CASE_LIMIT_S));
  if (!totals.ran) return totals.status;
  print_summary(totals);
  return totals.failures.empty() ? totals.status : 1;
}

}  // namespace

void skip_case(const std::string& reason) {
  if (event_socket < 0) std::cout << "[skipped] " << reason << '\n';
  skip_reason = reason;
}

}  // namespace suite

int main(int argc, char** argv) {
  return suite::run(argc, argv);
}
