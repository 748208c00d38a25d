// comm.h: the collectives of threads, and what happens when a rank does not come.
#include <pagoda/comm.h>

#include <chrono>
#include <functional>
#include <thread>

#include "world.h"

namespace pagoda::test {
namespace {

using Clock = std::chrono::steady_clock;

struct Comms {
  explicit Comms(int32_t num_ranks, int32_t timeout_ms = 0) : all(static_cast<size_t>(num_ranks)) {
    check(pagoda_comm_create_local(num_ranks, timeout_ms, all.data()));
  }
  ~Comms() {
    for (pagoda_comm& comm : all) pagoda_comm_destroy(&comm);
  }
  Comms(const Comms&) = delete;
  Comms& operator=(const Comms&) = delete;

  // rank_body(comm) on a thread for each rank.
  void run(const std::function<void(pagoda_comm&)>& rank_body) {
    std::vector<std::thread> threads;
    for (pagoda_comm& comm : all) threads.emplace_back([&] { rank_body(comm); });
    for (std::thread& thread : threads) thread.join();
  }

  std::vector<pagoda_comm> all;
};

TEST(LocalComm, GathersInTheOrderOfRanks) {
  Comms comms(5);
  comms.run([](pagoda_comm& comm) {
    for (int32_t round = 0; round < 50; ++round) {
      const int32_t send[2] = {comm.rank, round};
      int32_t recv[10];
      ASSERT_EQ(comm.all_gather(comm.user, send, recv, sizeof send, nullptr), PAGODA_OK);
      for (int32_t r = 0; r < 5; ++r) {
        ASSERT_EQ(recv[2 * r], r);
        ASSERT_EQ(recv[2 * r + 1], round);
      }
    }
  });
}

TEST(LocalComm, ReducesInTheOrderOfRanks) {
  Comms comms(4);
  comms.run([](pagoda_comm& comm) {
    // 1 is lost beside 2^24 unless the small ones come first.
    const float of_rank[] = {1, 1, 0x1p24f, -0x1p24f};
    std::vector<float> send(8, of_rank[comm.rank]);
    float recv[2];
    ASSERT_EQ(comm.reduce_scatter(comm.user, send.data(), recv, 2, nullptr), PAGODA_OK);
    EXPECT_EQ(recv[0], 2);
    EXPECT_EQ(recv[1], 2);
    float values[2] = {of_rank[comm.rank], 1}, scratch[8];
    ASSERT_EQ(pagoda_comm_all_reduce(&comm, values, scratch, 2, nullptr), PAGODA_OK);
    EXPECT_EQ(values[0], 2);
    EXPECT_EQ(values[1], 4);
  });
}

TEST(LocalComm, NamesTheRankThatDoesNotCome) {
  Comms comms(3, 300);
  comms.run([](pagoda_comm& comm) {
    float recv[3];
    const float send = 1;
    ASSERT_EQ(comm.all_gather(comm.user, &send, recv, sizeof send, nullptr), PAGODA_OK);
    if (comm.rank == 1) return;
    const auto start = Clock::now();
    EXPECT_EQ(comm.all_gather(comm.user, &send, recv, sizeof send, nullptr), PAGODA_COMM_ERROR);
    EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
    EXPECT_NE(std::string(comm.last_error(comm.user)).find("rank 1 did not take part"),
              std::string::npos)
        << comm.last_error(comm.user);
  });
}

TEST(LocalComm, RefusesNonsense) {
  pagoda_comm comm;
  EXPECT_EQ(pagoda_comm_create_local(0, 0, &comm), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_comm_create_local(1, -1, &comm), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_comm_create_local(1, 0, nullptr), PAGODA_INVALID_ARGUMENT);
  pagoda_comm_destroy(nullptr);
}

TEST(LocalSlots, AreThoseOfTheTokensThatARankKeeps) {
  // Pages of 8 tokens on each of 2 ranks, in runs of 4: global pages hold 16.
  const std::vector<int64_t> slots{48, 51, 52, 56, 63, -1, 0, 4};
  std::vector<int64_t> local(slots.size());
  const auto convert = [&](int32_t rank) {
    check(pagoda_local_slots(rank, 2, 4, 8, slots.data(), local.data(),
                             static_cast<int32_t>(slots.size())));
    return local;
  };
  EXPECT_EQ(convert(0), (std::vector<int64_t>{24, 27, -1, 28, -1, -1, 0, -1}));
  EXPECT_EQ(convert(1), (std::vector<int64_t>{-1, -1, 24, -1, 31, -1, -1, 0}));
  EXPECT_EQ(pagoda_local_slots(2, 2, 4, 8, slots.data(), local.data(), 1), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_local_slots(0, 2, 3, 8, slots.data(), local.data(), 1), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_local_len(1, 4, 2, 9), 2);
}

// The world's own step, but that its pages are those of one of two ranks.
void share(World& world, pagoda_comm& comm) {
  world.options.comm = &comm;
  world.spec.shard = PAGODA_SHARD_KEYS;
}

TEST(SharedPlan, IsRefusedWhereItCannotBe) {
  Comms comms(2);
  const auto sentence = [&](void (*spoil)(World&), bool with_comm) {
    World world("reference");
    if (with_comm) share(world, comms.all[0]);
    spoil(world);
    EXPECT_EQ(world.run().status, PAGODA_INVALID_ARGUMENT);
    return std::string(pagoda_last_error());
  };
  const auto expect_part = [](const std::string& whole, const char* part) {
    EXPECT_NE(whole.find(part), std::string::npos) << whole;
  };
  expect_part(sentence([](World& w) { w.spec.shard = PAGODA_SHARD_KEYS; }, false),
              "without options.comm");
  expect_part(sentence([](World& w) { w.spec.shard = static_cast<pagoda_shard>(7); }, true),
              "spec.shard is 7");
  expect_part(sentence([](World& w) { w.spec.shard_interleave = 3; }, true),
              "it divides spec.page_size, 8");
  expect_part(sentence([](World& w) { w.spec.shard_interleave = -1; }, true),
              "spec.shard_interleave is -1");
  expect_part(sentence(
                  [](World& w) {
                    w.spec.shard = PAGODA_SHARD_NONE;
                    w.spec.shard_interleave = 2;
                  },
                  true),
              "spec.shard is PAGODA_SHARD_NONE");
  expect_part(sentence([](World& w) { w.spec.page_size = 0; }, true), "page_size 0");
}

TEST(SharedPlan, CommsAreChecked) {
  Comms comms(2);
  for (int field = 0; field < 3; ++field) {
    pagoda_comm comm = comms.all[0];
    if (field == 0) comm.rank = 2;
    if (field == 1) comm.all_gather = nullptr;
    if (field == 2) comm.struct_size = 0;
    World world("reference");
    share(world, comm);
    EXPECT_EQ(world.run().status, PAGODA_INVALID_ARGUMENT) << field;
  }
}

TEST(SharedPlan, ALostRankMakesTheContextUnusable) {
  Comms comms(2, 200);
  World world("cpu");
  share(world, comms.all[0]);
  const Result first = world.run();
  EXPECT_EQ(first.status, PAGODA_COMM_ERROR);
  EXPECT_NE(first.sentence.find("rank 1 did not take part"), std::string::npos) << first.sentence;
  // Nothing goes on as if it had not happened.
  EXPECT_EQ(pagoda_update_cache(world.plan, &world.layer, &world.key, &world.value, nullptr),
            PAGODA_COMM_ERROR);
  EXPECT_EQ(std::string(pagoda_last_error()), first.sentence);
}

}  // namespace
}  // namespace pagoda::test
