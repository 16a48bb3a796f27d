/*
 * svc-gdpr - learning progress: XP, streaks, achievements, leaderboard.
 */
#ifndef SVC_GDPR_SERVICE_H
#define SVC_GDPR_SERVICE_H

#include "common/service/service.h"

extern const struct service_def gdpr_service;

#endif
