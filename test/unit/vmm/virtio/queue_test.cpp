#include "vmm/virtio/queue.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using vmm::Chain;
using vmm::Queue;

namespace {

constexpr uint16_t kSize = 8;
constexpr uint64_t kData = 0x100000;
constexpr uint64_t kTable = 0x200000;  // an indirect one

struct Fixture {
  explicit Fixture(vmm::QueueOptions options_ = {.event_idx = false, .indirect = true})
      : options(options_) {}
  bool start(vmm::QueuePosition position = {}) {
    return queue.start(memory, ring.setup, options, position);
  }

  vmm::GuestMemory memory = make_memory();
  MockRing ring{memory, 0x10000, kSize};
  Queue queue{256};
  vmm::QueueOptions options;
  Chain chain;
};

std::byte* base_of(const iovec& buffer) {
  return static_cast<std::byte*>(buffer.iov_base);
}

}  // namespace

TEST_CASE("queue: a chain arrives with its buffers in order") {
  Fixture t;
  REQUIRE(t.start());
  t.ring.describe_chain(3, {{kData, 16}, {kData + 64, 100}, {kData + 512, 7, kWrite}});
  t.ring.offer(3);
  REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
  CHECK(t.chain.head == 3);
  REQUIRE(t.chain.readable.size() == 2);
  REQUIRE(t.chain.writable.size() == 1);
  CHECK(base_of(t.chain.readable[1]) == t.memory.translate(kData + 64, 100));
  CHECK(t.chain.readable_bytes == 116);
  CHECK(t.chain.writable_bytes == 7);
  CHECK(t.queue.in_flight() == 1);
  CHECK(t.queue.pop(t.chain) == Queue::Pop::empty);

  t.queue.push(3, 7);
  CHECK_FALSE(t.ring.take_used());
  CHECK(t.queue.publish());
  CHECK(t.ring.take_used() == UsedElement{3, 7});
  CHECK(t.queue.in_flight() == 0);
}

TEST_CASE("queue: an indirect table may be as long as the queue and follow plain buffers") {
  Fixture t;
  REQUIRE(t.start());
  for (uint16_t i = 0; i < kSize - 1; ++i) {
    const bool last = i == kSize - 2;
    t.ring.describe_at(
        kTable, i,
        {kData + i, 1, static_cast<uint16_t>(last ? kWrite : kNext), static_cast<uint16_t>(i + 1)});
  }
  t.ring.describe(0, {kData, 4, kNext, 5});
  t.ring.describe(5, {kTable, 16 * (kSize - 1), kIndirect | kWrite});  // that kWrite is ignored
  t.ring.offer(0);
  REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
  CHECK(t.chain.readable.size() == kSize - 1);
  CHECK(t.chain.writable.size() == 1);
}

TEST_CASE("queue: indexes wrap at 16 bits") {
  for (const bool event_idx : {false, true}) {
    Fixture t({.event_idx = event_idx, .indirect = true});
    t.ring.wind_to(65530);
    REQUIRE(t.start({.next_available = 65530, .next_used = 65530}));
    for (int round = 0; round < 30; ++round) {
      const auto head = static_cast<uint16_t>(round % kSize);
      t.ring.describe(head, {kData, 8, kWrite});
      t.ring.set_interrupt_event(t.ring.seen_used);
      t.ring.offer(head);
      REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
      t.queue.push(head, static_cast<uint32_t>(round));
      REQUIRE(t.queue.publish());
      REQUIRE(t.ring.take_used() == UsedElement{head, static_cast<uint32_t>(round)});
    }
    CHECK(t.ring.used_index() == static_cast<uint16_t>(65530 + 30));
  }
}

TEST_CASE("queue: one used update for a batch") {
  Fixture t;
  REQUIRE(t.start());
  for (uint16_t head = 0; head < kSize; ++head) {
    t.ring.describe(head, {kData, 8, kWrite});
    t.ring.offer(head);
  }
  for (uint16_t head = 0; head < kSize; ++head) {
    REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
  }
  for (uint16_t head = kSize; head-- > 0;) {
    t.queue.push(head, head);
  }
  CHECK(t.ring.used_index() == 0);
  CHECK(t.queue.has_unpublished());
  CHECK(t.queue.publish());
  CHECK(t.ring.used_index() == kSize);
  CHECK(t.ring.take_used() == UsedElement{kSize - 1, kSize - 1});
  CHECK_FALSE(t.queue.publish());  // nothing new, no interrupt
}

TEST_CASE("queue: interrupts and kicks by flags") {
  Fixture t;
  REQUIRE(t.start());
  const auto use_one = [&](uint16_t head) {
    t.ring.describe(head, {kData, 8, kWrite});
    t.ring.offer(head);
    REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
    t.queue.push(head, 0);
    return t.queue.publish();
  };
  CHECK(use_one(0));
  t.ring.set_available_flags(1);
  CHECK_FALSE(use_one(1));
  t.ring.set_available_flags(0);
  CHECK(use_one(2));

  t.queue.suppress_kicks();
  CHECK(t.ring.used_flags() == 1);
  CHECK_FALSE(t.queue.allow_kicks());
  CHECK(t.ring.used_flags() == 0);
  t.queue.suppress_kicks();
  t.ring.offer(3);
  CHECK(t.queue.allow_kicks());  // came while kicks were off
}

TEST_CASE("queue: interrupts and kicks by event index") {
  Fixture t({.event_idx = true, .indirect = true});
  REQUIRE(t.start());
  const auto use = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const auto head = static_cast<uint16_t>(t.ring.next_available % kSize);
      t.ring.describe(head, {kData, 8, kWrite});
      t.ring.offer(head);
      REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
      t.queue.push(head, 0);
    }
    return t.queue.publish();
  };
  t.ring.set_available_flags(1);  // means nothing with event indexes
  t.ring.set_interrupt_event(2);  // "when index 2 is used"
  CHECK_FALSE(use(1));
  CHECK_FALSE(use(1));
  CHECK(use(1));
  CHECK_FALSE(use(4));  // the event lies behind
  t.ring.set_interrupt_event(9);
  CHECK(use(6));  // passes it in the middle of a batch

  t.queue.suppress_kicks();
  CHECK(t.ring.used_flags() == 0);
  CHECK_FALSE(t.queue.allow_kicks());
  CHECK(t.ring.kick_event() == t.ring.next_available);
  t.ring.offer(0);
  CHECK(t.queue.allow_kicks());
}

TEST_CASE("queue: chains that are put back come again, and kicks are for those after them") {
  Fixture t({.event_idx = true, .indirect = false});
  REQUIRE(t.start());
  for (uint16_t head = 0; head < 3; ++head) {
    t.ring.describe(head, {kData, 4});
    t.ring.offer(head);
    REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
  }
  t.queue.put_back(2);
  t.queue.put_back(1);
  CHECK(t.queue.in_flight() == 1);
  CHECK(t.queue.position().next_available == 1);
  CHECK_FALSE(t.queue.allow_kicks());  // what is there was seen
  CHECK(t.ring.kick_event() == 3);
  t.ring.describe(3, {kData, 4});
  t.ring.offer(3);
  CHECK(t.queue.allow_kicks());
  for (uint16_t head = 1; head < 4; ++head) {
    REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
    CHECK(t.chain.head == head);
  }
  CHECK(t.queue.pop(t.chain) == Queue::Pop::empty);
  CHECK_FALSE(t.queue.allow_kicks());
  CHECK(t.ring.kick_event() == 4);
  t.queue.put_back(7);  // not in flight: nothing happens
  CHECK(t.queue.position().next_available == 4);
}

TEST_CASE("queue: a driver is behind until it waits for what comes next, also where indexes wrap") {
  for (const uint16_t used : {uint16_t{0}, uint16_t{7}, uint16_t{0xffff}}) {
    Fixture t({.event_idx = true, .indirect = true});
    t.ring.wind_to(used);
    REQUIRE(t.start({.next_available = used, .next_used = used}));
    t.ring.set_interrupt_event(used);
    CHECK_FALSE(t.queue.driver_is_behind());
    t.ring.describe(0, {kData, 8, kWrite});
    t.ring.offer(0);
    REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
    t.queue.push(0, 0);
    t.queue.show_used();
    CHECK(t.queue.driver_is_behind());
    t.ring.set_interrupt_event(static_cast<uint16_t>(used + 1));
    CHECK_FALSE(t.queue.driver_is_behind());
  }
}

TEST_CASE("queue: a driver that breaks the rules breaks its queue") {
  struct Case {
    const char* name;
    const char* reason;
    std::function<void(Fixture&)> act;
  };
  const auto chain_of = [](std::vector<Descriptor> buffers) {
    return [buffers](Fixture& t) {
      t.ring.describe_chain(0, buffers);
      t.ring.offer(0);
    };
  };
  const auto indirect = [](uint64_t address, uint32_t length, std::vector<Descriptor> table,
                           uint16_t flags = kIndirect) {
    return [=](Fixture& t) {
      for (uint16_t i = 0; i < table.size(); ++i) {
        t.ring.describe_at(kTable, i, table[i]);
      }
      t.ring.describe(0, {address, length, flags, 1});
      t.ring.describe(1, {kData, 8});
      t.ring.offer(0);
    };
  };
  const std::vector<Case> cases = {
      {"loop of one", "loops",
       [](Fixture& t) {
         t.ring.describe(0, {kData, 8, kNext, 0});
         t.ring.offer(0);
       }},
      {"loop of the whole ring", "loops",
       [](Fixture& t) {
         for (uint16_t i = 0; i < kSize; ++i) {
           t.ring.describe(i, {kData, 8, kNext, static_cast<uint16_t>((i + 1) % kSize)});
         }
         t.ring.offer(0);
       }},
      {"head out of range", "head is out of range", [](Fixture& t) { t.ring.offer(kSize); }},
      {"head at the limit of its type", "head is out of range",
       [](Fixture& t) { t.ring.offer(0xffff); }},
      {"next out of range", "index is out of range",
       [](Fixture& t) {
         t.ring.describe(0, {kData, 8, kNext, kSize});
         t.ring.offer(0);
       }},
      {"address beyond memory", "outside of memory", chain_of({{kTestMemoryBytes, 1}})},
      {"address in the MMIO hole", "outside of memory", chain_of({{0xd000'0000, 8, kWrite}})},
      {"buffer reaches beyond memory", "outside of memory", chain_of({{kTestMemoryBytes - 8, 9}})},
      {"address and length overflow", "outside of memory",
       chain_of({{UINT64_MAX - 4, 0xffff'ffff}})},
      {"length zero", "length zero", chain_of({{kData, 8}, {kData, 0, kWrite}})},
      {"more than 2^32 bytes", "more than 2^32", chain_of({{0, 1u << 20}, {0, 0xffff'ffff}})},
      {"readable after writable", "readable buffer follows",
       chain_of({{kData, 8, kWrite}, {kData, 8}})},
      {"available index jumps", "jumps",
       [](Fixture& t) {
         t.ring.next_available = kSize + 1;
         t.ring.show_available();
       }},
      {"available index goes back", "jumps",
       [](Fixture& t) {
         t.ring.next_available = 0xffff;
         t.ring.show_available();
       }},
      {"a head twice in flight", "in flight already",
       [](Fixture& t) {
         t.ring.describe(0, {kData, 8});
         t.ring.offer(0);
         REQUIRE(t.queue.pop(t.chain) == Queue::Pop::chain);
         t.ring.offer(0);
       }},
      {"indirect table of length zero", "bad length", indirect(kTable, 0, {})},
      {"indirect table of a broken length", "bad length", indirect(kTable, 24, {{kData, 8}})},
      {"indirect table longer than the queue", "longer than the queue",
       indirect(kTable, 16 * (kSize + 1), {{kData, 8}})},
      {"indirect table with the largest length", "longer than the queue",
       indirect(kTable, 0xffff'fff0, {{kData, 8}})},
      {"indirect table beyond memory", "table is outside of memory",
       indirect(kTestMemoryBytes - 8, 16, {})},
      {"indirect in indirect", "refers to another",
       indirect(kTable, 16, {{kTable, 16, kIndirect}})},
      {"indirect with next", "has a next one",
       indirect(kTable, 16, {{kData, 8}}, kIndirect | kNext)},
      {"next leaves the indirect table", "index is out of range",
       indirect(kTable, 16, {{kData, 8, kNext, 1}})},
      {"loop in the indirect table", "loops", indirect(kTable, 16, {{kData, 8, kNext, 0}})},
      {"plain and indirect buffers are too many together", "longer than the queue",
       [](Fixture& t) {
         for (uint16_t i = 0; i < kSize; ++i) {
           t.ring.describe_at(kTable, i,
                              {kData, 8, static_cast<uint16_t>(i + 1 < kSize ? kNext : 0),
                               static_cast<uint16_t>(i + 1)});
         }
         t.ring.describe(0, {kData, 8, kNext, 1});
         t.ring.describe(1, {kTable, 16 * kSize, kIndirect});
         t.ring.offer(0);
       }},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    Fixture t;
    REQUIRE(t.start());
    c.act(t);
    REQUIRE(t.queue.pop(t.chain) == Queue::Pop::broken);
    CHECK(std::string_view(t.queue.broken()).find(c.reason) != std::string_view::npos);
    CHECK(t.queue.pop(t.chain) == Queue::Pop::broken);
    CHECK_FALSE(t.queue.running());
    t.queue.push(0, 1);  // ends the flight, tells the driver nothing
    CHECK_FALSE(t.queue.publish());
    CHECK(t.queue.in_flight() == 0);
    CHECK(t.ring.used_index() == 0);
  }
}

TEST_CASE("queue: indirect without the feature breaks it") {
  Fixture t({.event_idx = false, .indirect = false});
  REQUIRE(t.start());
  t.ring.describe_at(kTable, 0, {kData, 8});
  t.ring.describe(0, {kTable, 16, kIndirect});
  t.ring.offer(0);
  CHECK(t.queue.pop(t.chain) == Queue::Pop::broken);
}

TEST_CASE("queue: setups that are refused") {
  const auto accepts = [](const std::function<void(vmm::QueueSetup&)>& change) {
    Fixture t;
    change(t.ring.setup);
    return t.start();
  };
  using Setup = vmm::QueueSetup;
  CHECK(accepts([](Setup&) {}));
  CHECK_FALSE(accepts([](Setup& s) { s.size = 0; }));
  CHECK_FALSE(accepts([](Setup& s) { s.size = 7; }));
  CHECK_FALSE(accepts([](Setup& s) { s.size = 512; }));
  CHECK_FALSE(accepts([](Setup& s) { s.descriptors += 8; }));
  CHECK_FALSE(accepts([](Setup& s) { s.available += 1; }));
  CHECK_FALSE(accepts([](Setup& s) { s.used += 2; }));
  CHECK_FALSE(accepts([](Setup& s) { s.descriptors = kTestMemoryBytes - 16 * kSize + 16; }));
  CHECK(accepts([](Setup& s) { s.descriptors = kTestMemoryBytes - 16 * kSize; }));
  CHECK_FALSE(accepts([](Setup& s) { s.available = kTestMemoryBytes - 4 - 2 * kSize; }));
  CHECK_FALSE(accepts([](Setup& s) { s.used = kTestMemoryBytes - 4 - 8 * kSize; }));
  CHECK_FALSE(accepts([](Setup& s) { s.used = 0xd000'0000; }));
  CHECK_FALSE(accepts([](Setup& s) { s.available = UINT64_MAX - 1; }));
}
