// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/sync/wait_list.hpp>

namespace skerry::detail {

void waiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  list_->join(*this);
}

void waiter::let_go() noexcept {
  unlink();
  --list_->waiting_count_;
  if (!list_->waiting_.empty()) list_->serve();
  wake();
}

const char* waiter::describe() const noexcept { return list_->what(); }

void wait_list::join(waiter& last) noexcept {
  check_home();
  waiting_.push_back(last);
  ++waiting_count_;
}

void wait_list::serve() noexcept {
  while (!waiting_.empty() && waiting_.front().units_ <= free_) {
    waiter& next = waiting_.pop_front();
    --waiting_count_;
    free_ -= next.units_;
    next.reserved_ = true;
    next.wake();
  }
}

void wait_list::wake_all() noexcept {
  check_home();
  for (; !waiting_.empty(); --waiting_count_) waiting_.pop_front().wake();
}

void wait_list::move_front_to(wait_list& there) noexcept {
  waiter& moved = waiting_.pop_front();
  --waiting_count_;
  moved.list_ = &there;
  there.join(moved);
  there.serve();
}

}  // namespace skerry::detail
