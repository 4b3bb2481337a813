// SPDX-License-Identifier: Apache-2.0
#pragma once

/// All of Skerry in one include.

#include <skerry/framework/assert.hpp>
