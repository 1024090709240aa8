// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/attributes.h>

#ifdef gnuradio_largesc_EXPORTS
#define LARGESC_API __GR_ATTR_EXPORT
#else
#define LARGESC_API __GR_ATTR_IMPORT
#endif
