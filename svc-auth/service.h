/*
 * service - svc-auth as a value that main.c and local/main.c start.
 */
#ifndef SVC_AUTH_SERVICE_H
#define SVC_AUTH_SERVICE_H

#include "common/service/service.h"

extern const struct service_def auth_service;

#endif
