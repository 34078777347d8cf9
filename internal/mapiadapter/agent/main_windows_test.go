package agent_test

import (
	"testing"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

func TestMain(m *testing.M) { outlooktest.Main(m) }
