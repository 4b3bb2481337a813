// SPDX-License-Identifier: Apache-2.0
#pragma once

/// intrusive_list: a circular doubly linked list through hooks that its elements inherit.
///
/// An element is in at most one list per tag, and takes itself out in O(1) without knowing the list. Rejected:
/// boost::intrusive::list, which does the same but adds 6 500 preprocessed lines to every file that names a task.
///
/// Affinity:   one shard.
/// Ownership:  none; the elements belong to others.
/// Invariants: a hook is linked on both sides or on none; an element leaves before it is destroyed. Asserted, but for
///             elements that know themselves whether they are in a list: their tag has a type `unchecked`.

#include <skerry/framework/assert.hpp>

namespace skerry::detail {

template <class Tag>
inline constexpr bool checked_links = !requires { typename Tag::unchecked; };

/// `Tag` tells apart the lists that one element can be in at the same time.
template <class Tag>
class list_hook {
 public:
  list_hook() noexcept {
    if constexpr (checked_links<Tag>) next_ = nullptr;
  }
  list_hook(const list_hook&) = delete;
  list_hook& operator=(const list_hook&) = delete;
  ~list_hook() {
    if constexpr (checked_links<Tag>) SKERRY_ASSERT(!linked(), "an element must leave its list before it goes away");
  }

  bool linked() const noexcept {
    static_assert(checked_links<Tag>);
    return next_ != nullptr;
  }

  void unlink() noexcept {
    if constexpr (checked_links<Tag>) SKERRY_ASSERT(linked(), "only an element of a list can leave it");
    previous_->next_ = next_;
    next_->previous_ = previous_;
    if constexpr (checked_links<Tag>) next_ = nullptr;
  }

 private:
  template <class T, class ListTag>
  friend class intrusive_list;
  list_hook* previous_;  // meaningful while linked
  list_hook* next_;
};

/// First in, first out. `T` derives from `list_hook<Tag>`.
template <class T, class Tag>
class intrusive_list {
 public:
  intrusive_list() noexcept { head_.previous_ = head_.next_ = &head_; }
  ~intrusive_list() {
    SKERRY_ASSERT(empty(), "a list must be empty before it goes away");
    if constexpr (checked_links<Tag>) head_.next_ = nullptr;
  }
  intrusive_list(const intrusive_list&) = delete;
  intrusive_list& operator=(const intrusive_list&) = delete;

  bool empty() const noexcept { return head_.next_ == &head_; }

  void push_back(T& element) noexcept {
    list_hook<Tag>& hook = element;
    if constexpr (checked_links<Tag>) SKERRY_ASSERT(!hook.linked(), "an element is in one list at a time");
    hook.next_ = &head_;
    head_.previous_->next_ = &hook;  // between those to the hook, which g++ would merge by way of vector registers
    hook.previous_ = head_.previous_;
    head_.previous_ = &hook;
  }

  T& front() const noexcept {
    SKERRY_ASSERT(!empty(), "an empty list has no front");
    return *static_cast<T*>(head_.next_);
  }

  T& pop_front() noexcept {
    T& element = front();
    static_cast<list_hook<Tag>&>(element).unlink();
    return element;
  }

  /// Calls `visit(element)` for each in order; the visited element may leave the list meanwhile, others may not.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (list_hook<Tag>* hook = head_.next_; hook != &head_;) {
      list_hook<Tag>* next = hook->next_;
      visit(*static_cast<T*>(hook));
      hook = next;
    }
  }

 private:
  list_hook<Tag> head_;
};

}  // namespace skerry::detail
