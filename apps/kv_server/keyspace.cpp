// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <limits>
#include <new>

#include <kv_server/keyspace.hpp>

namespace kv_server {
namespace {

/// What malloc takes for a request: its own word, rounded up to 16, at least 32. Charged, and used as room for the
/// value.
constexpr std::uint64_t block_size(std::uint64_t bytes) noexcept {
  constexpr std::uint64_t overhead = 8, step = 16, least = 32;
  return std::max(least, (bytes + overhead + step - 1) / step * step);
}

void* allocate(std::size_t bytes) {
  void* block = std::malloc(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

keyspace::keyspace(std::uint64_t memory_max, std::uint64_t now_ms) : memory_max_(memory_max), wheel_(now_ms) {
  start_table();
  add_records();
}

keyspace::~keyspace() {
  flush();
  while (free_flushed(std::numeric_limits<std::size_t>::max()) > 0) {
  }
  wheel_.clear([](skerry::timers::timer_node&) {});
  SKERRY_ASSERT(size_ == 0, "a flushed keyspace has no keys");
  SKERRY_ASSERT(orphans_ == 0, "a pinned value outlives its keyspace: every pin needs its unpin");
}

// Values.

std::uint64_t keyspace::charge_of(const entry& e) noexcept {
  large_value* large = e.large();
  std::uint64_t here = large != nullptr ? sizeof large : e.capacity;
  std::uint64_t outside = large != nullptr ? block_size(sizeof(large_value) + large->capacity) : 0;
  return block_size(sizeof(entry) + e.key_size + here) + outside;
}

bool keyspace::admit(std::uint64_t more) noexcept {
  constexpr std::size_t step = 64;
  while (memory_used_ + more > memory_max_) {
    if (free_flushed(step) == 0) return false;
  }
  return true;
}

/// An entry in no chain, with room for a value of `capacity` bytes of which `size` are the caller's to fill. Null if
/// memory does not allow it.
keyspace::entry* keyspace::make(std::string_view key, std::uint64_t hash, std::size_t size, std::size_t capacity,
                                std::uint64_t given_back) {
  constexpr std::size_t size_limit = std::numeric_limits<std::uint32_t>::max() - 1;
  SKERRY_ASSERT(key.size() < size_limit, "a key is at most 4 GiB: the parser's limit is lower");
  SKERRY_ASSERT(capacity < size_limit, "a value is at most 4 GiB: the parser's limit is lower");
  SKERRY_ASSERT(size <= capacity, "there must be room for the value");
  const bool outside = size > large_value_min;
  std::uint64_t inner = sizeof(entry) + key.size() + (outside ? sizeof(large_value*) : capacity);
  std::uint64_t charge = block_size(inner) + (outside ? block_size(sizeof(large_value) + capacity) : 0);
  if (!admit(charge - std::min(charge, given_back))) return nullptr;
  auto* e = static_cast<entry*>(allocate(block_size(inner) - sizeof(void*)));
  std::size_t room = block_size(inner) - sizeof(void*) - sizeof(entry) - key.size();
  *e = {nullptr,
        hash,
        static_cast<std::uint32_t>(key.size()),
        static_cast<std::uint32_t>(size),
        outside ? entry::outside : static_cast<std::uint32_t>(room),
        no_record};
  if (!key.empty()) std::memcpy(e->bytes(), key.data(), key.size());
  if (outside) {
    auto* value = static_cast<large_value*>(std::malloc(sizeof(large_value) + capacity));
    if (value == nullptr) {
      std::free(e);
      throw std::bad_alloc();
    }
    *value = {capacity, 0, false};
    std::memcpy(e->bytes() + key.size(), &value, sizeof value);
  }
  memory_used_ += charge_of(*e);
  return e;
}

void keyspace::drop_large(large_value* value) noexcept {
  memory_used_ -= block_size(sizeof(large_value) + value->capacity);
  std::free(value);
}

/// Frees an entry that hangs in no chain and has no deadline.
void keyspace::destroy(entry* e) noexcept {
  SKERRY_ASSERT(e->record == no_record, "an entry with a deadline is freed: its timer would fire into nothing");
  std::uint64_t charge = charge_of(*e);
  if (large_value* large = e->large()) {
    charge -= block_size(sizeof(large_value) + large->capacity);
    if (large->pins == 0) {
      drop_large(large);
    } else {
      large->orphaned = true;
      ++orphans_;
    }
  }
  SKERRY_ASSERT(memory_used_ >= charge, "more memory is given back than was taken");
  memory_used_ -= charge;
  std::free(e);
}

keyspace::found keyspace::insert(std::string_view key, std::uint64_t hash, std::string_view value) {
  if (size_ >= live_.buckets) split_one();
  entry* e = make(key, hash, value.size(), value.size(), 0);
  if (e == nullptr) return found();
  if (!value.empty()) std::memcpy(e->value_bytes(), value.data(), value.size());
  ++size_;
  entry*& head = bucket(bucket_of(hash));
  e->next = head;
  head = e;
  return found(&head);
}

/// Puts a new entry with the value head + tail where the old one hangs.
bool keyspace::replace(found at, std::string_view head, std::string_view tail, std::size_t capacity) {
  entry* old = *at.link_;
  entry* e = make(old->key(), old->hash, head.size() + tail.size(), capacity, charge_of(*old));
  if (e == nullptr) return false;
  char* to = e->value_bytes();
  if (!head.empty()) std::memcpy(to, head.data(), head.size());
  if (!tail.empty()) std::memcpy(to + head.size(), tail.data(), tail.size());
  e->next = old->next;
  e->record = std::exchange(old->record, no_record);
  if (e->record != no_record) record_at(e->record).owner = e;
  *at.link_ = e;
  destroy(old);
  return true;
}

bool keyspace::assign(found at, std::string_view value) {
  SKERRY_ASSERT(at, "only a key that was found can be assigned to");
  constexpr std::size_t waste_ignored = 64;
  entry& e = **at.link_;
  large_value* large = e.large();
  std::size_t room = large != nullptr ? large->capacity : e.capacity;
  bool in_place = value.size() <= room && room <= 2 * value.size() + waste_ignored;
  // On either side of the bound it changes places: all values above it can be pinned, and no others.
  in_place =
      in_place && (large != nullptr) == (value.size() > large_value_min) && (large == nullptr || large->pins == 0);
  if (!in_place) return replace(at, value, {}, value.size());
  if (!value.empty()) std::memcpy(e.value_bytes(), value.data(), value.size());
  e.value_size = static_cast<std::uint32_t>(value.size());
  return true;
}

bool keyspace::append(found at, std::string_view suffix) {
  SKERRY_ASSERT(at, "only a key that was found can be appended to");
  constexpr std::size_t growth_max = 1U << 20;
  entry& e = **at.link_;
  std::size_t size = e.value_size + suffix.size();
  large_value* large = e.large();
  std::size_t room = large != nullptr ? large->capacity : e.capacity;
  // A value that is over the bound moves out of its entry even if it would fit: only large values can be pinned.
  bool stays = size <= room && (large != nullptr || size <= large_value_min);
  if (!stays) return replace(at, value(at), suffix, size + std::min(size, growth_max));
  // Behind what is pinned: whoever reads the pinned bytes never looks here.
  if (!suffix.empty()) std::memcpy(e.value_bytes() + e.value_size, suffix.data(), suffix.size());
  e.value_size = static_cast<std::uint32_t>(size);
  return true;
}

void keyspace::erase(found at) noexcept {
  SKERRY_ASSERT(at, "only a key that was found can be erased");
  entry* e = *at.link_;
  drop_deadline(*e);
  *at.link_ = e->next;
  destroy(e);
  --size_;
  // Up to four merges, because one delete takes a quarter of a bucket's share away.
  for (int i = 0; i < 4 && live_.buckets > segment_size && size_ < live_.buckets / 4; ++i) merge_one();
}

large_value* keyspace::pin(found at) noexcept {
  SKERRY_ASSERT(at, "only a key that was found can be pinned");
  large_value* large = (*at.link_)->large();
  if (large != nullptr) ++large->pins;
  return large;
}

void keyspace::unpin(large_value* value) noexcept {
  SKERRY_ASSERT(value->pins > 0, "a value is unpinned more often than it was pinned");
  if (--value->pins > 0 || !value->orphaned) return;
  --orphans_;
  drop_large(value);
}

// The table.

void keyspace::start_table() {
  live_ = table{};
  add_segment();
  live_.buckets = segment_size;
  mask_ = 2 * segment_size - 1;
}

void keyspace::add_segment() {
  live_.directory.push_back(std::make_unique<entry*[]>(segment_size));
  memory_used_ += block_size(segment_size * sizeof(entry*));
}

/// One bucket more. Its entries come from the one bucket that held them until now.
void keyspace::split_one() {
  if (live_.buckets % segment_size == 0 && live_.buckets / segment_size == live_.directory.size()) add_segment();
  if (live_.buckets > mask_) mask_ = 2 * mask_ + 1;
  const std::size_t added = live_.buckets++;
  entry** from = &bucket(added & (mask_ >> 1));
  entry** to = &bucket(added);
  while (*from != nullptr) {
    entry* e = *from;
    if (bucket_of(e->hash) == added) {
      *from = e->next;
      *to = e;
      to = &e->next;
    } else {
      from = &e->next;
    }
  }
  *to = nullptr;
}

void keyspace::merge_one() noexcept {
  SKERRY_ASSERT(live_.buckets > segment_size, "the first segment stays");
  const std::size_t removed = --live_.buckets;
  entry** to = &bucket(removed & (mask_ >> 1));
  while (*to != nullptr) to = &(*to)->next;
  *to = std::exchange(bucket(removed), nullptr);
  if (removed == (mask_ >> 1) + 1) mask_ >>= 1;
  // One segment beyond the last is kept, so that a size around its border does not allocate again and again.
  const std::size_t needed = (live_.buckets + segment_size - 1) / segment_size;
  if (live_.directory.size() > needed + (live_.buckets > segment_size ? 1 : 0)) {
    live_.directory.pop_back();
    memory_used_ -= block_size(segment_size * sizeof(entry*));
  }
}

void keyspace::flush() {
  constexpr std::size_t freed_at_once = 4096;  // so that flushing small databases again and again piles nothing up
  if (size_ == 0) return;
  flushed_.reserve(flushed_.size() + 1);
  table old = std::move(live_);
  // Counted as flushed before the new table is made: if that throws, the old one is put back.
  try {
    start_table();
  } catch (...) {
    live_ = std::move(old);
    throw;
  }
  flushed_.push_back(std::move(old));
  size_ = 0;
  free_flushed(freed_at_once);
}

/// Frees the last buckets of what was flushed; returns how many keys and buckets that were.
std::size_t keyspace::free_flushed(std::size_t budget) noexcept {
  std::size_t done = 0;
  while (done < budget && !flushed_.empty()) {
    table& t = flushed_.back();
    entry*& head = t.directory[(t.buckets - 1) / segment_size][(t.buckets - 1) % segment_size];
    ++done;
    if (head != nullptr) {
      entry* e = std::exchange(head, head->next);
      drop_deadline(*e);
      destroy(e);
      continue;
    }
    --t.buckets;
    if (t.buckets % segment_size != 0) continue;
    memory_used_ -= block_size(segment_size * sizeof(entry*)) * (t.directory.size() - t.buckets / segment_size);
    t.directory.resize(t.buckets / segment_size);
    if (t.buckets == 0) flushed_.pop_back();
  }
  return done;
}

// Deadlines.

void keyspace::add_records() {
  const std::size_t first = record_chunks_.size() * records_per_chunk;
  SKERRY_ASSERT(first + records_per_chunk < std::numeric_limits<std::uint32_t>::max(),
                "a shard has fewer than 2^32 keys with a deadline");
  record_chunks_.push_back(std::make_unique<record[]>(records_per_chunk));
  memory_used_ += block_size(records_per_chunk * sizeof(record));
  for (std::size_t i = records_per_chunk; i-- > 0;) {
    auto index = static_cast<std::uint32_t>(first + i);
    record& r = record_at(index);
    r.index = index;
    if (index == no_record) continue;
    r.next = std::exchange(record_free_, index);
  }
}

keyspace::record& keyspace::take_record(entry& owner) {
  if (record_free_ == no_record) add_records();
  record& r = record_at(record_free_);
  record_free_ = r.next;
  r.owner = &owner;
  owner.record = r.index;
  ++records_live_;
  return r;
}

/// Chunks are kept until no key has a deadline any more; then all but the first go.
void keyspace::give_back(record& r) noexcept {
  SKERRY_ASSERT(!r.armed(), "a record with an armed timer is given back");
  r.next = std::exchange(record_free_, r.index);
  r.fired = false;
  --records_live_;
  if (records_live_ > 0 || record_chunks_.size() == 1) return;
  memory_used_ -= block_size(records_per_chunk * sizeof(record)) * (record_chunks_.size() - 1);
  record_chunks_.resize(1);
  record_free_ = no_record;
  for (std::size_t i = records_per_chunk; i-- > 1;) {
    auto index = static_cast<std::uint32_t>(i);
    record_at(index).next = std::exchange(record_free_, index);
  }
}

void keyspace::drop_deadline(entry& e) noexcept {
  if (e.record == no_record) return;
  record& r = record_at(std::exchange(e.record, no_record));
  r.owner = nullptr;
  if (r.fired) return;  // it waits in the list of fired ones, which gives it back
  wheel_.cancel(r);
  give_back(r);
}

std::optional<std::uint64_t> keyspace::deadline(found at) const noexcept {
  SKERRY_ASSERT(at, "only a key that was found has a deadline");
  const entry& e = **at.link_;
  if (e.record == no_record) return std::nullopt;
  return record_at(e.record).deadline_tick();
}

void keyspace::expire_at(found at, std::uint64_t deadline_ms) {
  SKERRY_ASSERT(at, "only a key that was found can expire");
  entry& e = **at.link_;
  // A fired record is in a list; the key gets another one.
  if (e.record != no_record && record_at(e.record).fired) drop_deadline(e);
  record& r = e.record != no_record ? record_at(e.record) : take_record(e);
  wheel_.rearm(r, deadline_ms);
}

bool keyspace::persist(found at) noexcept {
  SKERRY_ASSERT(at, "only a key that was found can be persisted");
  entry& e = **at.link_;
  if (e.record == no_record) return false;
  drop_deadline(e);
  return true;
}

/// Moves the wheel on, tick by tick where something is due, until `budget` keys wait to be removed.
void keyspace::fire_until(std::uint64_t now_ms, std::size_t budget) noexcept {
  while (fired_count_ < budget && wheel_.now() <= now_ms) {
    std::optional<std::uint64_t> next = wheel_.next_deadline();
    if (!next.has_value() && wheel_.now() == now_ms) return;
    std::uint64_t target = std::min(next.value_or(now_ms), now_ms);
    wheel_.advance(target, [this](skerry::timers::timer_node& node) {
      auto& r = static_cast<record&>(node);
      r.fired = true;
      r.next = no_record;
      if (fired_last_ != no_record) record_at(fired_last_).next = r.index;
      fired_last_ = r.index;
      if (fired_first_ == no_record) fired_first_ = r.index;
      ++fired_count_;
    });
    next = wheel_.next_deadline();
    if (target == now_ms && (!next.has_value() || *next > now_ms)) return;
  }
}

/// Takes the oldest fired record and removes its key, if it still has one; true if it had.
bool keyspace::remove_fired() noexcept {
  record& r = record_at(fired_first_);
  fired_first_ = r.next;
  if (fired_first_ == no_record) fired_last_ = no_record;
  --fired_count_;
  entry* e = std::exchange(r.owner, nullptr);
  if (e != nullptr) e->record = no_record;
  give_back(r);
  if (e == nullptr) return false;
  // A key that was flushed meanwhile hangs in no chain of the live table; it is freed with its table.
  for (entry** link = &bucket(bucket_of(e->hash)); *link != nullptr; link = &(*link)->next) {
    if (*link != e) continue;
    ++expired_total_;
    erase(found(link));
    return true;
  }
  return false;
}

std::size_t keyspace::maintain(std::uint64_t now_ms, std::size_t budget) {
  std::size_t done = 0;
  fire_until(now_ms, budget);
  while (done < budget && fired_count_ > 0) {
    remove_fired();
    ++done;
  }
  return done < budget ? done + free_flushed(budget - done) : done;
}

std::optional<std::uint64_t> keyspace::next_maintenance() const noexcept {
  if (fired_count_ > 0 || !flushed_.empty()) return 0;
  return wheel_.next_deadline();
}

}  // namespace kv_server
