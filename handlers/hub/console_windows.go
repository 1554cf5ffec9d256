package hub

const (
	consoleIn  = "CONIN$"
	consoleOut = "CONOUT$"
)
