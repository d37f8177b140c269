"""Interactive Brokers by the Web API: HTTPS and one kind of WebSocket, through a Client Portal Gateway or with OAuth."""
