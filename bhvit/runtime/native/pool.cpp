#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <new>

namespace bhvit {

namespace {

// A ticket holds, from the top: the number of the loop, how many threads may take part, how many turns there are, and the next
// one to take. All in one word, so that a helper that comes late never takes a turn of another loop than it thinks.
constexpr int TURN_BITS = 20, THREAD_BITS = 10, LOOP_SHIFT = 2 * TURN_BITS + THREAD_BITS;
constexpr uint64_t TURNS = (uint64_t(1) << TURN_BITS) - 1, THREADS = (uint64_t(1) << THREAD_BITS) - 1;
constexpr int SPINS = 4000; // some tens of microseconds: the pause between two loops of a run

uint64_t loop_of(uint64_t ticket) { return ticket >> LOOP_SHIFT; }
uint64_t threads_of(uint64_t ticket) { return ticket >> (2 * TURN_BITS) & THREADS; }
uint64_t turns_of(uint64_t ticket) { return ticket >> TURN_BITS & TURNS; }

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

} // namespace

struct Pool {
  int threads;   // that a run wants, the caller's included
  int helpers;   // that were started: at least threads - 1, or as many as the system allows
  Pool *next;    // in the list of free pools
  std::atomic<uint64_t> ticket;
  std::atomic<int> finished, sleeping;
  Body body;
  void *context;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
};

namespace {

struct Helper {
  Pool *pool;
  uint64_t thread, seen; // its number, and the loop that it need not begin any more
};

void take_turns(Pool *pool, uint64_t thread) {
  uint64_t ticket = pool->ticket.load(std::memory_order_acquire);
  while (thread < threads_of(ticket) && (ticket & TURNS) < turns_of(ticket)) {
    if (!pool->ticket.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
    pool->body(pool->context, int(ticket & TURNS), int(thread));
    pool->finished.fetch_add(1, std::memory_order_release);
    ticket = pool->ticket.load(std::memory_order_acquire);
  }
}

void *help(void *argument) {
  Helper helper = *static_cast<Helper *>(argument);
  delete static_cast<Helper *>(argument);
  Pool *pool = helper.pool;
  for (;;) {
    for (int i = 0; i < SPINS && loop_of(pool->ticket.load(std::memory_order_acquire)) == helper.seen; ++i) pause();
    if (loop_of(pool->ticket.load()) == helper.seen) {
      pthread_mutex_lock(&pool->mutex);
      pool->sleeping.fetch_add(1);
      while (loop_of(pool->ticket.load()) == helper.seen) pthread_cond_wait(&pool->wake, &pool->mutex);
      pool->sleeping.fetch_sub(1);
      pthread_mutex_unlock(&pool->mutex);
    }
    helper.seen = loop_of(pool->ticket.load());
    take_turns(pool, helper.thread);
  }
  return nullptr;
}

} // namespace

void pool_run(Pool *pool, int n, Body body, void *context) {
  if (!pool || n < 2 || uint64_t(n) >= TURNS) {
    for (int i = 0; i < n; ++i) body(context, i, 0);
    return;
  }
  pool->finished.store(0, std::memory_order_relaxed);
  pool->body = body;
  pool->context = context;
  const uint64_t loop = loop_of(pool->ticket.load(std::memory_order_relaxed)) + 1; // the oldest bits fall off
  pool->ticket.store(loop << LOOP_SHIFT | uint64_t(pool->threads) << (2 * TURN_BITS) | uint64_t(n) << TURN_BITS);
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
pthread_once_t fork_once = PTHREAD_ONCE_INIT;

void lock_free_pools() { pthread_mutex_lock(&free_mutex); }
void unlock_free_pools() { pthread_mutex_unlock(&free_mutex); }
void forget_pools() { // a forked child has none of the helpers
  free_pools = nullptr;
  pthread_mutex_init(&free_mutex, nullptr);
}
void watch_forks() { pthread_atfork(lock_free_pools, unlock_free_pools, forget_pools); }

// Starts helpers until there are threads - 1; with fewer, the others do their work.
void grow(Pool *pool) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the caller's affair
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  while (pool->helpers < pool->threads - 1) {
    Helper *helper = new (std::nothrow) Helper{pool, uint64_t(pool->helpers) + 1, loop_of(pool->ticket.load())};
    pthread_t thread;
    if (!helper || pthread_create(&thread, &detached, help, helper) != 0) {
      delete helper;
      break;
    }
    ++pool->helpers;
  }
  pthread_attr_destroy(&detached);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

} // namespace

Pool *acquire_pool(int threads) {
  if (threads < 2) return nullptr;
  pthread_once(&fork_once, watch_forks);
  lock_free_pools();
  Pool *pool = free_pools;
  if (pool) free_pools = pool->next;
  unlock_free_pools();
  if (!pool) {
    pool = new (std::nothrow) Pool();
    if (!pool) return nullptr;
    pthread_mutex_init(&pool->mutex, nullptr);
    pthread_cond_init(&pool->wake, nullptr);
  }
  pool->threads = threads;
  grow(pool);
  return pool;
}

void release_pool(Pool *pool) {
  if (!pool) return;
  lock_free_pools();
  pool->next = free_pools;
  free_pools = pool;
  unlock_free_pools();
}

} // namespace bhvit
