#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace tender {
namespace {

TEST(ThreadPoolTest, EveryIndexIsVisitedOnceForAnyNumberOfThreads) {
  for (const std::size_t threads : {1U, 2U, 3U, 8U}) {
    ThreadPool pool(threads);
    for (const std::size_t count : {0U, 1U, 2U, 7U, 64U, 1000U}) {
      std::vector<int> visits(count);
      pool.for_each_part(count, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) ++visits[i];
      });
      EXPECT_EQ(visits, std::vector<int>(count, 1)) << threads << " threads, " << count << " items";
    }
  }
}

TEST(ThreadPoolTest, PartsAreCutOnlyAtMultiplesOfTheUnit) {
  ThreadPool pool(3);
  std::vector<std::size_t> begins(100, 1);
  pool.for_each_part(100, 16, [&](std::size_t begin, std::size_t) { begins[begin] = begin % 16; });
  for (const std::size_t rest : begins) EXPECT_LE(rest, 1U);
}

TEST(ThreadPoolTest, AnExceptionOfAPartReachesTheCaller) {
  ThreadPool pool(2);
  EXPECT_THROW(
      pool.for_each_part(2, [](std::size_t, std::size_t) { throw std::runtime_error("x"); }),
      std::runtime_error);
  int ran = 0;
  pool.for_each_part(1, [&](std::size_t, std::size_t) { ++ran; });
  EXPECT_EQ(ran, 1) << "the pool works on after a failure";
}

TEST(ThreadPoolTest, ManyShortJobsEnd) {
  ThreadPool pool(2);
  std::vector<int> sums(2);
  for (int i = 0; i < 20000; ++i)
    pool.for_each_part(2, [&](std::size_t begin, std::size_t end) {
      for (std::size_t j = begin; j < end; ++j) ++sums[j];
    });
  EXPECT_EQ(sums, (std::vector<int>{20000, 20000}));
}

TEST(ThreadPoolTest, EveryItemIsTakenOnce) {
  for (const std::size_t threads : {1U, 2U, 5U}) {
    ThreadPool pool(threads);
    for (const std::size_t count : {0U, 1U, 3U, 100U}) {
      std::vector<int> visits(count);
      pool.for_each_item(count, [&](std::size_t item) { ++visits[item]; });
      EXPECT_EQ(visits, std::vector<int>(count, 1)) << threads << " threads, " << count << " items";
    }
    try {
      pool.for_each_item(90,
                         [](std::size_t item) { throw std::runtime_error(std::to_string(item)); });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "0");
    }
  }
}

TEST(ThreadPoolTest, ForksOnSharesCoverAllPartsOnceAndGoAround) {
  for (const std::size_t threads : {1U, 2U, 3U, 8U}) {
    ThreadPool pool(threads);
    for (const std::size_t count : {1U, 5U, 64U}) {
      std::vector<int> first(count), second(count);
      pool.for_each_share([&](ThreadPool& share) {
        EXPECT_EQ(share.threads(), threads);
        share.for_each_part(count, [&](std::size_t begin, std::size_t end) {
          for (std::size_t i = begin; i < end; ++i) ++first[i];
        });
        share.for_each_part(count, 2, [&](std::size_t begin, std::size_t end) {
          for (std::size_t i = begin; i < end; ++i) ++second[i];
        });
      });
      EXPECT_EQ(first, std::vector<int>(count, 1)) << threads << " threads";
      EXPECT_EQ(second, std::vector<int>(count, 1)) << threads << " threads";
    }
    EXPECT_THROW(pool.for_each_share([](ThreadPool& share) {
      share.for_each_part(9, [](std::size_t, std::size_t) { throw std::runtime_error("x"); });
    }),
                 std::runtime_error);
  }
  // three units on two threads: one and two, then two and one
  ThreadPool pool(2);
  std::vector<std::size_t> done(2);
  std::atomic<std::size_t> number{0};
  pool.for_each_share([&](ThreadPool& share) {
    const std::size_t own = number++;
    for (int fork = 0; fork < 2; ++fork)
      share.for_each_part(3, [&](std::size_t begin, std::size_t end) { done[own] += end - begin; });
  });
  EXPECT_EQ(done, (std::vector<std::size_t>{3, 3}));
}

}  // namespace
}  // namespace tender
