/*
 * erase - what svc-gdpr has of a person: see common/service/erase.h.
 */
#ifndef SVC_GDPR_ERASE_H
#define SVC_GDPR_ERASE_H

#include "common/service/erase.h"

extern const struct erase_def gdpr_erase;

#endif
