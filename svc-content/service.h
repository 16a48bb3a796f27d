/*
 * service - what svc-content is to the programs that run it.
 */
#ifndef SVC_CONTENT_SERVICE_H
#define SVC_CONTENT_SERVICE_H

#include "common/service/service.h"

extern const struct service_def content_service;

#endif
