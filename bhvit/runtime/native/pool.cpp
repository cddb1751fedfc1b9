#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <new>

namespace bhvit {

namespace {

// A ticket holds, from the top: the number of the loop, how many turns it has, and the next one to take. All in one word,
// so that a helper that comes late never takes a turn of another loop than it thinks.
constexpr int BITS = 20;
constexpr uint64_t MASK = (uint64_t(1) << BITS) - 1;
constexpr int MOST_TURNS = int(MASK) - 1024; // helpers that find none left count on
constexpr int SPINS = 4000;                  // some tens of microseconds: the pause between two loops of a run

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

} // namespace

struct Pool {
  int threads, helpers;
  pid_t process; // a forked child has none of the helpers
  Pool *next;    // in the list of free pools
  std::atomic<uint64_t> ticket;
  std::atomic<int> finished, sleeping, started;
  Body body;
  void *context;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
};

static uint64_t loop_of(uint64_t ticket) { return ticket >> (2 * BITS); }

static void take_turns(Pool *pool, int thread) {
  for (;;) {
    const uint64_t ticket = pool->ticket.fetch_add(1, std::memory_order_acq_rel);
    if ((ticket & MASK) >= (ticket >> BITS & MASK)) return;
    pool->body(pool->context, int(ticket & MASK), thread);
    pool->finished.fetch_add(1, std::memory_order_release);
  }
}

static void *helper(void *argument) {
  Pool *pool = static_cast<Pool *>(argument);
  const int thread = pool->started.fetch_add(1) + 1;
  uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < SPINS && loop_of(pool->ticket.load(std::memory_order_acquire)) == seen; ++i) pause();
    if (loop_of(pool->ticket.load()) == seen) {
      pthread_mutex_lock(&pool->mutex);
      pool->sleeping.fetch_add(1);
      while (loop_of(pool->ticket.load()) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
      pool->sleeping.fetch_sub(1);
      pthread_mutex_unlock(&pool->mutex);
    }
    seen = loop_of(pool->ticket.load());
    take_turns(pool, thread);
  }
  return nullptr;
}

void pool_run(Pool *pool, int n, Body body, void *context) {
  if (!pool || n < 2 || n > MOST_TURNS) {
    for (int i = 0; i < n; ++i) body(context, i, 0);
    return;
  }
  pool->finished.store(0, std::memory_order_relaxed);
  pool->body = body;
  pool->context = context;
  const uint64_t loop = (loop_of(pool->ticket.load(std::memory_order_relaxed)) + 1) & ((uint64_t(1) << (64 - 2 * BITS)) - 1);
  pool->ticket.store(loop << (2 * BITS) | uint64_t(n) << BITS);
  if (pool->sleeping.load()) {
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
  }
  take_turns(pool, 0);
  for (int i = 0; pool->finished.load(std::memory_order_acquire) < n; ++i) {
    if (i < SPINS) pause();
    else sched_yield(); // a helper was stopped in the middle of a turn
  }
}

namespace {
pthread_mutex_t free_mutex = PTHREAD_MUTEX_INITIALIZER;
Pool *free_pools = nullptr;
} // namespace

static Pool *new_pool(int threads) {
  Pool *pool = new (std::nothrow) Pool();
  if (!pool) return nullptr;
  pool->threads = threads;
  pool->process = getpid();
  pthread_mutex_init(&pool->mutex, nullptr);
  pthread_cond_init(&pool->wake, nullptr);
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  for (int i = 1; i < threads; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, &detached, helper, pool) == 0) ++pool->helpers; // fewer helpers do the same work
  }
  pthread_attr_destroy(&detached);
  return pool;
}

Pool *acquire_pool(int threads) {
  if (threads < 2) return nullptr;
  const pid_t process = getpid();
  pthread_mutex_lock(&free_mutex);
  Pool **at = &free_pools;
  while (*at && ((*at)->threads != threads || (*at)->process != process)) at = &(*at)->next;
  Pool *pool = *at;
  if (pool) *at = pool->next;
  pthread_mutex_unlock(&free_mutex);
  return pool ? pool : new_pool(threads);
}

void release_pool(Pool *pool) {
  if (!pool) return;
  pthread_mutex_lock(&free_mutex);
  pool->next = free_pools;
  free_pools = pool;
  pthread_mutex_unlock(&free_mutex);
}

} // namespace bhvit
