package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

func targetPath(name string) string { return "/v1/mapi/" + url.PathEscape(name) }

// targets are all of them; a broker without Outlook has none.
func (a *api) targets(ctx context.Context) ([]httpapi.MapiTarget, error) {
	list := httpapi.MapiTargetList{Targets: []httpapi.MapiTarget{}}
	err := a.do(ctx, http.MethodGet, "/v1/mapi", nil, &list)
	if e, ok := errors.AsType[*token.Error](err); ok && e.Kind == token.KindNotFound {
		err = nil
	}
	return list.Targets, err
}

func (a *api) target(ctx context.Context, name string) (out httpapi.MapiTarget, err error) {
	err = a.do(ctx, http.MethodGet, targetPath(name), nil, &out)
	return out, err
}

func (a *api) ensureTarget(ctx context.Context, name string, force bool) (out httpapi.MapiTarget, err error) {
	err = a.do(ctx, http.MethodPost, targetPath(name)+"/ensure", httpapi.MapiEnsureRequest{Force: force}, &out)
	return out, err
}

func (a *api) reportTarget(ctx context.Context, name string, in httpapi.MapiReport) (out httpapi.MapiTarget, err error) {
	err = a.do(ctx, http.MethodPost, targetPath(name)+"/report", in, &out)
	return out, err
}

func (a *api) pauseTarget(ctx context.Context, name string) (out httpapi.MapiTarget, err error) {
	err = a.do(ctx, http.MethodPost, targetPath(name)+"/pause", nil, &out)
	return out, err
}

func (a *api) resumeTarget(ctx context.Context, name string) (out httpapi.MapiTarget, err error) {
	err = a.do(ctx, http.MethodPost, targetPath(name)+"/resume", nil, &out)
	return out, err
}

func (a *api) history(ctx context.Context, name string, limit int) (out httpapi.MapiHistory, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = a.call(ctx, http.MethodGet, targetPath(name)+"/history", url.Values{"limit": {strconv.Itoa(limit)}}, nil, &out)
	return out, err
}
