// SPDX-License-Identifier: Apache-2.0
#pragma once

/// keyspace: the keys of one shard, with values, deadlines and a memory limit. No operation stalls for the size of the
/// whole.
///
///   directory -> segments of 1024 buckets -> chain of entries      one allocation each:
///                                                                  next | hash | sizes | expiry | key bytes | value
///                                                                  bytes
///
/// *Growth* is linear hashing: with n buckets, 2^l <= n < 2^(l+1), a hash belongs to bucket `hash mod 2^(l+1)`, or to
/// `hash mod 2^l` if that one does not exist yet. An insert that makes the load exceed one splits one bucket, so no
/// table is ever copied and none is thrown away at once; deletes merge buckets back below a load of a quarter. (Two
/// tables and a rehash between them were rejected: freeing the old one is a pause, and SCAN returns keys twice.)
///
/// *SCAN.* A cursor is a position in the order of bit-reversed hashes, 48 bits wide. A bucket is an interval of that
/// order, a split cuts it in two and a merge joins two, so a key never changes sides of a cursor: each key that is
/// there during the whole scan is returned exactly once.
///
/// *Deadlines.* A key with a deadline has a record in a pool, which holds the timer of this keyspace's own wheel; a key
/// without one pays nothing. Expired keys are removed when touched, and by `maintain`, which also frees in small steps
/// what `flush` left behind. The owner calls it when `next_maintenance` says so.
///
/// *Values* of more than `large_value_min` bytes live outside their entry and can be pinned: a pinned value stays where
/// it is and its pinned bytes stay as they are, whatever happens to the key, until it is unpinned. So a reply of 100 MB
/// needs no copy.
///
/// Affinity:   one shard. Pinned bytes may be read by any; pin and unpin happen here.
/// Ownership:  every entry, record and value is the keyspace's; views and `found` handles are valid until its next
///             change.
/// Invariants: (1) size() entries are in the table, each in the bucket of its hash; (2) memory_used() is the sum of
///             what is charged for entries, values, segments and records, flushed and orphaned ones included.
/// Limits:     memory_max: what would exceed it is refused with `false` and changes nothing. Keys and values are
///             below 4 GiB.
/// Units:      milliseconds since the epoch, always passed in. A key lives until, and not including, its deadline.
/// Source:     Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980.

#include <skerry/framework/assert.hpp>
#include <skerry/timers/wheel.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace kv_server {

/// A value outside its entry. Only the keyspace makes and frees one.
struct large_value {
  std::uint64_t capacity;
  std::uint32_t pins;
  bool orphaned;  ///< no entry refers to it any more: the last unpin frees it
  char* data() noexcept { return reinterpret_cast<char*>(this + 1); }
};

class keyspace {
 public:
  static constexpr std::size_t large_value_min = 64U
                                                 << 10;  ///< values of more bytes than this live outside their entry
  static constexpr unsigned cursor_bits = 48;            ///< a scan position is below 2^48
  static constexpr std::size_t scan_bytes = 64U << 10;   ///< a scan visits no key after so many bytes of keys

  struct entry;
  /// Where an entry hangs, so that changing it needs no second search. Empty when the key is not there.
  class found {
   public:
    found() noexcept = default;
    explicit operator bool() const noexcept { return link_ != nullptr; }

   private:
    friend class keyspace;
    explicit found(entry** link) noexcept : link_(link) {}
    entry** link_ = nullptr;
  };

  keyspace(std::uint64_t memory_max, std::uint64_t now_ms);
  ~keyspace();
  keyspace(const keyspace&) = delete;
  keyspace& operator=(const keyspace&) = delete;

  /// The key's entry, unless there is none or its deadline has come; an expired entry is removed here. Never allocates.
  found find(std::string_view key, std::uint64_t hash, std::uint64_t now_ms) noexcept;

  std::string_view value(found at) const noexcept;

  /// A key that is not there yet. Empty if memory does not allow it.
  found insert(std::string_view key, std::uint64_t hash, std::string_view value);
  /// Replaces the value and keeps the deadline; in place when the new one fits and wastes less than half. `at` stays
  /// valid.
  bool assign(found at, std::string_view value);
  /// Grows the value, in place as long as there is room, which doubles (by at most 1 MiB) when there is none.
  bool append(found at, std::string_view suffix);
  void erase(found at) noexcept;

  /// The key's deadline; nullopt when it lives for ever.
  std::optional<std::uint64_t> deadline(found at) const noexcept;
  void expire_at(found at, std::uint64_t deadline_ms);
  /// Takes the deadline away; false when there was none.
  bool persist(found at) noexcept;

  /// For values larger than large_value_min; null for others. Every pin needs its unpin before the keyspace ends.
  large_value* pin(found at) noexcept;
  void unpin(large_value* value) noexcept;

  /// Forgets all keys at once. Their memory is given back by maintain(), and earlier by writes that need it.
  void flush();

  /// Removes expired keys and frees flushed ones, about `budget` of them; returns how many. Never runs longer for one
  /// call than the keys that share one millisecond make it.
  std::size_t maintain(std::uint64_t now_ms, std::size_t budget);
  /// When maintain() is of use next: 0 when at once, nullopt when never as things are.
  std::optional<std::uint64_t> next_maintenance() const noexcept;

  /// Visits keys from `cursor` (0 at first) until at least `count` were seen, or `scan_bytes` of them, or ten times as
  /// many buckets visited; returns the next cursor, 0 at the end. `seen(std::string_view key)` must not change the
  /// keyspace. Expired keys are left out.
  template <class Seen>
  std::uint64_t scan(std::uint64_t cursor, std::size_t count, std::uint64_t now_ms, Seen&& seen) const;

  /// Two steps, each for a whole batch before the next, so that cache misses of many commands overlap.
  void prefetch_bucket(std::uint64_t hash) const noexcept { __builtin_prefetch(&bucket(bucket_of(hash))); }
  void prefetch_entry(std::uint64_t hash) const noexcept { __builtin_prefetch(bucket(bucket_of(hash))); }

  /// Keys in the table, those included whose deadline has come but that nobody has touched yet: as DBSIZE counts.
  std::size_t size() const noexcept { return size_; }
  /// Keys with a deadline, those included that were flushed and wait to be freed.
  std::size_t expiring() const noexcept { return records_live_; }
  std::uint64_t expired_total() const noexcept { return expired_total_; }
  std::uint64_t memory_used() const noexcept { return memory_used_; }
  std::uint64_t memory_max() const noexcept { return memory_max_; }

 private:
  static constexpr std::size_t segment_size = 1024;
  static constexpr std::size_t records_per_chunk = 128;
  static constexpr std::uint32_t no_record = 0;

  using segment = std::unique_ptr<entry*[]>;
  struct table {
    std::vector<segment> directory;
    std::size_t buckets = 0;  ///< n; always at least segment_size
  };
  /// The deadline of one key. Index 0 of the pool is never used, so that 0 can mean none.
  struct record : skerry::timers::timer_node {
    entry* owner = nullptr;  ///< null: free, or fired and since then abandoned
    std::uint32_t index = 0;
    std::uint32_t next = 0;  ///< in the free list, or in the list of fired ones
    bool fired = false;
  };

  std::size_t bucket_of(std::uint64_t hash) const noexcept {
    std::size_t wide = hash & mask_;
    return wide < live_.buckets ? wide : wide & (mask_ >> 1);
  }
  entry*& bucket(std::size_t index) const noexcept {
    return live_.directory[index / segment_size][index % segment_size];
  }
  bool expired(const entry& e, std::uint64_t now_ms) const noexcept;

  entry* make(std::string_view key, std::uint64_t hash, std::size_t size, std::size_t capacity,
              std::uint64_t given_back);
  bool replace(found at, std::string_view head, std::string_view tail, std::size_t capacity);
  void destroy(entry* e) noexcept;
  void drop_large(large_value* value) noexcept;
  bool admit(std::uint64_t more) noexcept;
  static std::uint64_t charge_of(const entry& e) noexcept;

  void start_table();
  void add_segment();
  void split_one();
  void merge_one() noexcept;
  std::size_t free_flushed(std::size_t budget) noexcept;

  record& record_at(std::uint32_t index) const noexcept {
    return record_chunks_[index / records_per_chunk][index % records_per_chunk];
  }
  record& take_record(entry& owner);
  void add_records();
  void give_back(record& r) noexcept;
  void drop_deadline(entry& e) noexcept;
  void fire_until(std::uint64_t now_ms, std::size_t budget) noexcept;
  bool remove_fired() noexcept;

  table live_;
  std::uint64_t mask_ = 0;  ///< 2^(l+1) - 1
  std::size_t size_ = 0;
  std::uint64_t memory_used_ = 0;
  std::uint64_t memory_max_;
  std::vector<table> flushed_;  ///< tables that flush() left, each with `buckets` not freed yet

  std::vector<std::unique_ptr<record[]>> record_chunks_;
  std::uint32_t record_free_ = no_record;
  std::uint32_t fired_first_ = no_record;
  std::uint32_t fired_last_ = no_record;
  std::size_t fired_count_ = 0;
  std::size_t records_live_ = 0;
  std::size_t orphans_ = 0;  ///< pinned values without an entry
  std::uint64_t expired_total_ = 0;
  skerry::timers::wheel wheel_;
};

/// One key. The bytes of the key follow it, then room for the value, or a pointer to a large one.
struct keyspace::entry {
  static constexpr std::uint32_t outside = 0xffffffff;  ///< in `capacity`: the value is a large_value

  entry* next;
  std::uint64_t hash;
  std::uint32_t key_size;
  std::uint32_t value_size;
  std::uint32_t capacity;  ///< room for the value here
  std::uint32_t record;    ///< its deadline, or no_record

  char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
  const char* bytes() const noexcept { return reinterpret_cast<const char*>(this + 1); }
  std::string_view key() const noexcept { return {bytes(), key_size}; }
  large_value* large() const noexcept {
    if (capacity != outside) return nullptr;
    large_value* value;
    std::memcpy(&value, bytes() + key_size, sizeof value);
    return value;
  }
  char* value_bytes() noexcept { return capacity == outside ? large()->data() : bytes() + key_size; }
};

inline bool keyspace::expired(const entry& e, std::uint64_t now_ms) const noexcept {
  return e.record != no_record && record_at(e.record).deadline_tick() <= now_ms;
}

inline keyspace::found keyspace::find(std::string_view key, std::uint64_t hash, std::uint64_t now_ms) noexcept {
  for (entry** link = &bucket(bucket_of(hash)); *link != nullptr; link = &(*link)->next) {
    entry& e = **link;
    if (e.hash != hash || e.key() != key) continue;
    if (expired(e, now_ms)) [[unlikely]] {
      ++expired_total_;
      erase(found(link));
      return found();
    }
    return found(link);
  }
  return found();
}

inline std::string_view keyspace::value(found at) const noexcept {
  SKERRY_ASSERT(at, "only a key that was found has a value");
  entry& e = **at.link_;
  return {e.value_bytes(), e.value_size};
}

template <class Seen>
std::uint64_t keyspace::scan(std::uint64_t cursor, std::size_t count, std::uint64_t now_ms, Seen&& seen) const {
  constexpr std::uint64_t end = std::uint64_t{1} << cursor_bits;
  constexpr unsigned below_cursor = 64 - cursor_bits;
  const auto reversed = [](std::uint64_t bits) {
    bits = __builtin_bswap64(bits);
    bits = (bits >> 4 & 0x0f0f0f0f0f0f0f0f) | (bits & 0x0f0f0f0f0f0f0f0f) << 4;
    bits = (bits >> 2 & 0x3333333333333333) | (bits & 0x3333333333333333) << 2;
    return (bits >> 1 & 0x5555555555555555) | (bits & 0x5555555555555555) << 1;
  };
  if (cursor >= end) return 0;  // no position that scan() ever returned
  std::size_t buckets_left = count > SIZE_MAX / 10 ? SIZE_MAX : std::max<std::size_t>(count * 10, 1);
  const auto position = [&](const entry& e) { return reversed(e.hash) >> below_cursor; };
  std::size_t keys_seen = 0;
  std::size_t bytes_seen = 0;
  while (keys_seen < count && bytes_seen < scan_bytes && buckets_left-- > 0) {
    std::size_t index = bucket_of(reversed(cursor << below_cursor));
    // As many low bits as this bucket's hashes have in common: one more when its twin exists.
    std::uint64_t twin_bit = (mask_ >> 1) + 1;
    bool split = (index | twin_bit) < live_.buckets;
    unsigned bits = static_cast<unsigned>(std::bit_width(mask_)) - (split ? 0 : 1);
    std::uint64_t first = reversed(index) >> below_cursor;
    const std::uint64_t next = first + (std::uint64_t{1} << (cursor_bits - bits));
    std::size_t bytes_here = 0;
    for (const entry* e = bucket(index); e != nullptr; e = e->next) bytes_here += e->key_size;
    std::uint64_t stop = next;
    if (bytes_here > scan_bytes - bytes_seen) [[unlikely]] {  // too long for one step: one position after the other
      std::uint64_t lowest = next - 1;
      for (const entry* e = bucket(index); e != nullptr; e = e->next) {
        if (position(*e) >= cursor && !expired(*e, now_ms)) lowest = std::min(lowest, position(*e));
      }
      stop = lowest + 1;
    }
    for (const entry* e = bucket(index); e != nullptr; e = e->next) {
      const std::uint64_t at = position(*e);
      if (at < cursor || at >= stop || expired(*e, now_ms)) continue;
      seen(e->key());
      ++keys_seen;
      bytes_seen += e->key_size;
    }
    cursor = stop;
    if (cursor == end) return 0;
  }
  return cursor;
}

}  // namespace kv_server
