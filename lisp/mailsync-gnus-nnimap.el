;;; mailsync-gnus-nnimap.el --- Watch the nnimap servers that Gnus has open  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; With `mailsync-gnus-watch-nnimap' an nnimap server is watched for as long as
;; Gnus has it open, as if it were an account with (imap ...) that has no
;; maildir.  How to reach it is Gnus's knowledge: whatever decides that, the
;; connection that Gnus has says what came of it.
;;
;; Gnus tells nobody that it has opened or closed a server, so that is noticed
;; by advice.  Then, as soon as nobody waits for an answer of Gnus's (asking
;; nnimap changes which server it is at), a look is taken at all of them; if
;; there is a difference, the engine is told.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-moment)
(require 'mailsync-options)

;;;; Internal variables

(defvar mailsync-gnus-nnimap--servers nil
  "Servers that Gnus has open: alist from methods to keys of (imap ...).
A string in place of the keys says why it cannot be watched.")

(defvar mailsync-gnus-nnimap--told nil
  "The accounts of which the engine was told last.")

(defvar mailsync-gnus-nnimap--timer nil
  "The timer of the next look, or nil.")

(defconst mailsync-gnus-nnimap--longest 8
  "Where there was no moment for a look, it is tried in so many seconds at most.")

;;;; Declarations

(defvar gnus-opened-servers)
(defvar mailsync-accounts-more-function)
(defvar mailsync-imap-lookup-function)
(defvar mailsync-mode)
(defvar nnimap-address)
(defvar nnimap-authenticator)
(defvar nnimap-object)
(defvar nnimap-server-port)
(defvar nnimap-shell-program)
(defvar nnimap-stream)
(defvar nnimap-user)
(defvar nntp-server-buffer)

(declare-function auth-source-recall "auth-source" (spec))
(declare-function auth-source-search "auth-source")
(declare-function mailsync--configuration-changed "mailsync-life"
                  (&optional seconds))
(declare-function mailsync--once "mailsync-log" (key level format &rest args))
(declare-function mailsync--reconfigure "mailsync-life" (&optional quietly))
(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function nnimap-find-connection "nnimap" (buffer))
(declare-function nnimap-open-server "nnimap"
                  (server &optional defs no-reconnect))
;; The last t: a structure makes it.
(declare-function nnimap-stream-type "nnimap" t t)

;;;; How Gnus reaches a server

(defun mailsync-gnus-nnimap--describe (method)
  "The keys of (imap ...) for METHOD, which Gnus has open.
A string says why there are none; nil that there is no connection.
Only for a moment when nobody waits for Gnus."
  ;; This connects to nothing.
  (when (nnimap-open-server (nth 1 method) (cddr method) t)
    (when-let* ((process (nnimap-find-connection nntp-server-buffer)))
      (let ((tls (with-current-buffer (process-buffer process)
                   (eq (nnimap-stream-type nnimap-object) 'tls))))
        (if (eq nnimap-authenticator 'anonymous)
            "who is anonymous there has no mail of his own"
          (append (mailsync-gnus-nnimap--way process tls)
                  (mailsync-gnus-nnimap--login method)))))))

(defun mailsync-gnus-nnimap--way (process tls)
  "How PROCESS, Gnus's connection, reaches its server; with TLS if that is non-nil."
  (if (eq (process-type process) 'real)
      (list :tunnel (mailsync-gnus-nnimap--tunnel process)
            :host nnimap-address)
    (let ((port (mailsync-gnus-nnimap--port process)))
      (append
       (list :host (process-contact process :host)
             :port port
             :tls (cond ((not tls) 'none)
                        ((memq nnimap-stream '(ssl tls)) t)
                        ((memq nnimap-stream '(network plain starttls)) 'starttls)
                        ;; It is undecided, unless a port is given.
                        ((eql port 143) 'starttls)
                        (t t)))
       (and tls (mailsync-gnus-nnimap--pin process))))))

(defun mailsync-gnus-nnimap--port (process)
  "The port that PROCESS is connected to, a number."
  (let ((port (process-contact process :service)))
    (cond ((natnump port) port)
          ((string-match-p "\\`[0-9]+\\'" port) (string-to-number port))
          ((equal port "imap") 143)
          (t 993))))

(defun mailsync-gnus-nnimap--tunnel (process)
  "The program and the arguments of PROCESS, a connection by a program."
  (let ((command (process-command process)))
    (cons (expand-file-name (car command)) (cdr command))))

(defun mailsync-gnus-nnimap--pin (process)
  "The fingerprint of the certificate of PROCESS, as keys of (imap ...).
That is only where nobody vouches for it but the user, whom Emacs
has asked."
  (let ((status (gnutls-peer-status process)))
    (when-let* (((plist-get status :warnings))
                (pem (plist-get (plist-get status :certificate) :pem))
                ((string-match "-----BEGIN CERTIFICATE-----\\([^-]+\\)-----END"
                               pem)))
      (list :tls-fingerprint
            (concat "SHA256:"
                    (secure-hash 'sha256
                                 (base64-decode-string (match-string 1 pem))))))))

(defun mailsync-gnus-nnimap--login (method)
  "Who logs in at METHOD, and how, as keys of (imap ...)."
  (append
   (when-let* ((user (or nnimap-user
                         (plist-get (mailsync-gnus-nnimap--credentials
                                     (mailsync-gnus-nnimap--spec method))
                                    :user))))
     (list :user user))
   (list :lookup (mailsync-gnus-nnimap--spec method))
   (and (memq nnimap-authenticator '(login plain xoauth2))
        (list :auth nnimap-authenticator))))

(defun mailsync-gnus-nnimap--spec (method)
  "What nnimap asks auth-source for METHOD, as in `nnimap-credentials'."
  (let ((ports (pcase nnimap-stream
                 ((or 'network 'plain 'starttls) '("imap" "143"))
                 ('shell '("imap"))
                 (_ '("imaps" "imap" "993" "143")))))
    (list :max 1
          :host (delete-dups (list (nth 1 method) nnimap-address))
          :port (if nnimap-server-port (cons nnimap-server-port ports) ports)
          :user nnimap-user
          :require '(:user :secret)
          :create t)))

(defun mailsync-gnus-nnimap--credentials (spec)
  "What auth-source has for SPEC, without asking anybody.
Gnus has asked, so it is known, even if it was typed."
  (require 'auth-source)
  (let ((inhibit-interaction t))
    (or (car (auth-source-recall spec))
        (ignore-errors
          (car (apply #'auth-source-search (append '(:create nil) spec)))))))

;;;; Which servers are watched

(defun mailsync-gnus-nnimap--named-p (method)
  "Non-nil if the option names METHOD."
  (and (proper-list-p mailsync-gnus-watch-nnimap)
       (cl-some (lambda (name) (mailsync-gnus--called-p method name))
                mailsync-gnus-watch-nnimap)))

(defun mailsync-gnus-nnimap--wanted-p (method)
  "Non-nil if METHOD is to be watched where nothing speaks against it."
  (cond
   ((memq mailsync-gnus-watch-nnimap '(nil t)) mailsync-gnus-watch-nnimap)
   ((and (proper-list-p mailsync-gnus-watch-nnimap)
         (cl-every #'stringp mailsync-gnus-watch-nnimap))
    (mailsync-gnus-nnimap--named-p method))
   (t
    (mailsync--once (list 'watch-nnimap mailsync-gnus-watch-nnimap) 'error
                    "`mailsync-gnus-watch-nnimap' is %S, but has to be nil, t, \
or a list of names of servers" mailsync-gnus-watch-nnimap)
    nil)))

(defun mailsync-gnus-nnimap--open-methods ()
  "The nnimap servers that Gnus has open and that are to be watched."
  (and (mailsync-gnus-ready-p)
       (cl-remove-duplicates
        (cl-loop for (method status) in gnus-opened-servers
                 when (and (eq (car-safe method) 'nnimap) (eq status 'ok)
                           (mailsync-gnus-nnimap--wanted-p method))
                 collect method)
        :key #'mailsync-gnus--server-name :test #'equal)))

(defun mailsync-gnus-nnimap--covered-by (method keys accounts)
  "Which of ACCOUNTS watches METHOD, whose KEYS are those of (imap ...), or nil.
The value is the account's name."
  (car (cl-find-if
        (lambda (account)
          (or (mailsync-gnus-nnimap--names-p account method)
              (mailsync-gnus-nnimap--same-p account keys)
              (mailsync-gnus-nnimap--serves-p account method)))
        accounts)))

(defun mailsync-gnus-nnimap--names-p (account method)
  "Non-nil if ACCOUNT says that METHOD is its server."
  (when-let* ((name (plist-get (cdr account) :gnus-server)))
    (mailsync-gnus--called-p method name)))

(defun mailsync-gnus-nnimap--same-p (account keys)
  "Non-nil if ACCOUNT watches the server with KEYS itself."
  (let* ((value (plist-get (cdr account) :remote))
         (stores (if (symbolp (car-safe value)) (list value) value)))
    (cl-some (lambda (store)
               (and (eq (car store) 'imap)
                    (let ((host (plist-get (cdr store) :host))
                          (user (plist-get (cdr store) :user)))
                      (if (and host (plist-get keys :host)
                               (not (plist-get (cdr store) :tunnel)))
                          (and (equal (downcase host)
                                      (downcase (plist-get keys :host)))
                               ;; Ports are not compared: IMAP has two.
                               (or (null user) (null (plist-get keys :user))
                                   (equal user (plist-get keys :user))))
                        (and (plist-get keys :tunnel)
                             (equal (plist-get (cdr store) :tunnel)
                                    (plist-get keys :tunnel)))))))
             stores)))

(defun mailsync-gnus-nnimap--serves-p (account method)
  "Non-nil if METHOD is taken for the server of ACCOUNT, which names none."
  (let ((keys (cdr account)))
    (cond
     ((plist-get keys :gnus-server) nil)
     ((plist-get keys :maildir)
      (and (mailsync-gnus--local-server-p method)
           (not (mailsync-gnus-nnimap--named-p method))))
     (t
      (unless mailsync-gnus--index
        (mailsync-gnus--build-index))
      (cl-some (lambda (server)
                 (equal (mailsync-gnus--server-name (car server))
                        (mailsync-gnus--server-name method)))
               (mailsync-gnus--imap-servers (car account)))))))

(defun mailsync-gnus-nnimap-accounts (accounts)
  "The accounts for servers that Gnus has open, besides the configured ACCOUNTS."
  (setq mailsync-gnus-nnimap--told
        (mailsync-gnus-nnimap--accounts accounts)))

(defun mailsync-gnus-nnimap--accounts (accounts)
  "What `mailsync-gnus-nnimap-accounts' returns for ACCOUNTS."
  (cl-loop for (method . keys) in mailsync-gnus-nnimap--servers
           for name = (mailsync-gnus--server-name method)
           for covered = (cond
                          ((stringp keys) keys)
                          ((assoc name accounts) "an account has its name")
                          ((mailsync-gnus-nnimap--covered-by method keys accounts)))
           if covered
           do (mailsync-log-add 'debug "%s is not watched by itself: %s" name
                                (if (assoc covered accounts)
                                    (format "account %S is there for it" covered)
                                  covered))
           else
           collect (list name
                         :remote (cons 'imap (mailsync-gnus-nnimap--without-lookup
                                              keys))
                         :gnus-server name)))

(defun mailsync-gnus-nnimap--without-lookup (keys)
  "KEYS without what only the search for a password needs."
  (cl-loop for (key value) on keys by #'cddr
           unless (eq key :lookup) append (list key value)))

(defun mailsync-gnus-nnimap-lookup (account)
  "How auth-source is asked for the password of ACCOUNT, if it is one of ours.
The value is a spec of `auth-source-search'."
  (cl-loop for (method . keys) in mailsync-gnus-nnimap--servers
           when (and (equal account (mailsync-gnus--server-name method))
                     (listp keys))
           return (plist-get keys :lookup)))

;;;; When to look

(defun mailsync-gnus-nnimap-look-soon (&rest _)
  "Take a look at Gnus's servers as soon as there is a moment for it."
  (mailsync-gnus-nnimap--look-in 0 0.1))

(defun mailsync-gnus-nnimap--look-in (seconds next)
  "Take a look in SECONDS; if that is no moment, again after NEXT seconds."
  (when (timerp mailsync-gnus-nnimap--timer)
    (cancel-timer mailsync-gnus-nnimap--timer))
  (setq mailsync-gnus-nnimap--timer
        (run-at-time seconds nil #'mailsync-gnus-nnimap--look next)))

(defun mailsync-gnus-nnimap--look (next)
  "Take a look at Gnus's servers; if this is no moment, after NEXT seconds."
  (setq mailsync-gnus-nnimap--timer nil)
  (when (bound-and-true-p mailsync-mode)
    (let ((methods (mailsync-gnus-nnimap--open-methods)))
      (if (and (cl-set-difference methods
                                  (mapcar #'car mailsync-gnus-nnimap--servers)
                                  :test #'equal)
               (not (mailsync-gnus-nnimap--moment-p)))
          (mailsync-gnus-nnimap--look-in
           next (min mailsync-gnus-nnimap--longest (* 2 next)))
        (condition-case err
            (mailsync-gnus-nnimap--take methods)
          (error
           (mailsync--once (list 'watch-nnimap (car err)) 'error
                           "looking at Gnus's nnimap servers: %s"
                           (error-message-string err))))))))

(defun mailsync-gnus-nnimap--moment-p ()
  "Non-nil if nnimap may be asked for its connections now."
  (and (mailsync-gnus--clean-stack-p)
       (not mailsync-gnus--running)
       (zerop (minibuffer-depth))))

(defun mailsync-gnus-nnimap--take (methods)
  "From now on METHODS are the servers that are open."
  (setq mailsync-gnus-nnimap--servers
        (cl-loop for method in methods
                 for keys = (or (cdr (assoc method mailsync-gnus-nnimap--servers))
                                (mailsync-gnus-nnimap--describe method))
                 when keys collect (cons method keys)))
  (let ((told mailsync-gnus-nnimap--told))
    (unless (equal told (mailsync-gnus-nnimap--accounts
                         (mailsync-gnus-nnimap--configured)))
      (mailsync--reconfigure t))))

(defvar mailsync-accounts--valid)

(defun mailsync-gnus-nnimap--configured ()
  "The accounts that are in force, without ours."
  (cl-remove-if (lambda (account) (member account mailsync-gnus-nnimap--told))
                mailsync-accounts--valid))

;;;; What mailsync-gnus.el calls

(defun mailsync-gnus-nnimap-setup ()
  "Begin to notice which servers Gnus has open."
  (setq mailsync-accounts-more-function #'mailsync-gnus-nnimap-accounts
        mailsync-imap-lookup-function #'mailsync-gnus-nnimap-lookup)
  (advice-add 'gnus-open-server :after #'mailsync-gnus-nnimap-look-soon)
  (advice-add 'gnus-close-server :after #'mailsync-gnus-nnimap-look-soon)
  (mailsync-gnus-nnimap-look-soon))

(defun mailsync-gnus-nnimap-teardown ()
  "Notice nothing any more; what was watched is forgotten."
  (advice-remove 'gnus-open-server #'mailsync-gnus-nnimap-look-soon)
  (advice-remove 'gnus-close-server #'mailsync-gnus-nnimap-look-soon)
  (when (timerp mailsync-gnus-nnimap--timer)
    (cancel-timer mailsync-gnus-nnimap--timer))
  (setq mailsync-accounts-more-function #'ignore
        mailsync-imap-lookup-function #'ignore
        mailsync-gnus-nnimap--timer nil
        mailsync-gnus-nnimap--servers nil
        mailsync-gnus-nnimap--told nil))

(provide 'mailsync-gnus-nnimap)
;;; mailsync-gnus-nnimap.el ends here
