;;; mailsync-random-reader-test.el --- A random reader among others  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A user reads at random while mail arrives, is split, and other clients
;; change flags, expunge, move, create and delete.  mailsync itself watches,
;; with its module, and decides what is checked when.  Whenever everything is
;; at rest, Gnus's counts must be what is on the disk, or on the server.
;;
;; ROUNDS (environment) says for how long, SEED for which life: `make torture'.

;;; Code:

(require 'mailsync-dispatch)
(require 'mailsync-life)
(require 'mailsync-log)
(require 'mailsync-status)
(require 'mailsync-gnus-test-helper)

(load (mailsync-gnus-test--fixture "gnus-user") nil t)

(defconst mailsync-random-reader-test--folders '("folder000" "folder001" "INBOX"))

(defvar mailsync-random-reader-test--backend nil "The back end of this life.")
(defvar mailsync-random-reader-test--pausing nil "Non-nil while the user does nothing.")
(defvar mailsync-random-reader-test--tally nil "Alist from what happened to how often.")
(defvar mailsync-random-reader-test--errors nil "Errors that mailsync logged, latest first.")
(defvar mailsync-random-reader-test--lines nil "All that was logged, latest first.")
(defvar mailsync-random-reader-test--since 0 "How many rounds ago counts were compared.")
(defvar mailsync-random-reader-test--compared 0 "How often counts were compared.")
(defvar mailsync-random-reader-test--imap nil "The connection of another client.")
(defvar mailsync-random-reader-test--number 0 "A number for names.")

;;;; Another client of the server

(defun mailsync-random-reader-test--imap-say (format &rest args)
  "Send a command, FORMAT with ARGS; return what is answered."
  (unless (process-live-p mailsync-random-reader-test--imap)
    (setq mailsync-random-reader-test--imap
          (open-network-stream "life" (generate-new-buffer " *life*") "127.0.0.1"
                               mailsync-gnus-test--imap-port))
    (set-process-query-on-exit-flag mailsync-random-reader-test--imap nil)
    (mailsync-random-reader-test--imap-say "LOGIN user any"))
  (let ((tag (format "t%d" (cl-incf mailsync-random-reader-test--number)))
        (end (+ (float-time) 10)))
    (with-current-buffer (process-buffer mailsync-random-reader-test--imap)
      (erase-buffer)
      (process-send-string mailsync-random-reader-test--imap
                           (concat tag " " (apply #'format format args) "\r\n"))
      (while (not (progn (goto-char (point-min))
                         (re-search-forward (concat "^" tag " .*\r\n") nil t)))
        (when (> (float-time) end) (error "No answer: %s" (buffer-string)))
        (accept-process-output mailsync-random-reader-test--imap 1 nil t))
      (buffer-substring (point-min) (match-beginning 0)))))

(defun mailsync-random-reader-test--imap-search (folder what)
  "The UIDs in FOLDER of WHAT."
  (mailsync-random-reader-test--imap-say "SELECT \"%s\"" folder)
  (let ((answer (mailsync-random-reader-test--imap-say "UID SEARCH %s" what)))
    (and (string-match "\\* SEARCH\\(.*\\)\r" answer)
         (mapcar #'string-to-number (split-string (match-string 1 answer))))))

;;;; What others do

(defun mailsync-random-reader-test--deliver ()
  "Deliver messages: mostly one, sometimes a burst, sometimes to several folders."
  (dotimes (_ (gnus-user-pick '(1 1 1 2 3 6)))
    (mailsync-gnus-test--deliver
     (gnus-user-pick mailsync-random-reader-test--folders)
     (format "%s %d" (gnus-user-pick '("plain" "plain" "split this"))
             (cl-incf mailsync-random-reader-test--number)))))

(defun mailsync-random-reader-test--deliver-source ()
  "Deliver a message where Gnus takes and splits it."
  (if (eq mailsync-random-reader-test--backend 'nnimap)
      (mailsync-gnus-test--deliver "INBOX" "split this")
    (mailsync-gnus-test--run
     "deliver.sh" (expand-file-name "source" mailsync-gnus-test--dir)
     (gnus-user-pick '("split this" "not that")))))

(defun mailsync-random-reader-test--file ()
  "A message of some folder, (FOLDER . FILE), or nil."
  (let* ((folder (gnus-user-pick mailsync-random-reader-test--folders))
         (files (sort (mailsync-gnus-test--files folder) #'string<)))
    (and files (cons folder (gnus-user-pick files)))))

(defun mailsync-random-reader-test--toggle-file (file flag)
  "Set the FLAG of FILE, or take it away."
  (let* ((name (file-name-nondirectory file))
         (parts (split-string name ":2,"))
         (flags (string-to-list (or (cadr parts) ""))))
    (rename-file file
                 (expand-file-name
                  (format "../cur/%s:2,%s" (car parts)
                          (concat (sort (if (memq flag flags) (delq flag flags)
                                          (cons flag flags))
                                        #'<)))
                  (file-name-directory file)))))

(defun mailsync-random-reader-test--flag ()
  "Another client changes a flag."
  (let ((flag (gnus-user-pick '(?S ?S ?F))))
    (if (and (eq mailsync-random-reader-test--backend 'nnimap)
             (= 0 (gnus-user-random 2)))
        (let* ((folder (gnus-user-pick mailsync-random-reader-test--folders))
               (uids (mailsync-random-reader-test--imap-search folder "ALL")))
          (when uids
            (mailsync-random-reader-test--imap-say
             "UID STORE %d %sFLAGS (%s)" (gnus-user-pick uids)
             (gnus-user-pick '("+" "-")) (if (= flag ?S) "\\Seen" "\\Flagged"))))
      (when-let* ((file (mailsync-random-reader-test--file)))
        (mailsync-random-reader-test--toggle-file (cdr file) flag)))))

(defun mailsync-random-reader-test--expunge ()
  "Another client removes a message."
  (if (eq mailsync-random-reader-test--backend 'nnimap)
      (let* ((folder (gnus-user-pick mailsync-random-reader-test--folders))
             (uids (mailsync-random-reader-test--imap-search folder "ALL")))
        (when uids
          (mailsync-random-reader-test--imap-say "UID STORE %d +FLAGS (\\Deleted)"
                                        (gnus-user-pick uids))
          (mailsync-random-reader-test--imap-say "EXPUNGE")))
    (when-let* ((file (mailsync-random-reader-test--file)))
      (delete-file (cdr file)))))

(defun mailsync-random-reader-test--move ()
  "Another client moves a message to another folder."
  (let* ((from (gnus-user-pick mailsync-random-reader-test--folders))
         (to (gnus-user-pick (remove from mailsync-random-reader-test--folders))))
    (if (eq mailsync-random-reader-test--backend 'nnimap)
        (let ((uids (mailsync-random-reader-test--imap-search from "ALL")))
          (when uids
            (mailsync-random-reader-test--imap-say "UID MOVE %d \"%s\""
                                          (gnus-user-pick uids) to)))
      (when-let* ((files (sort (mailsync-gnus-test--files from) #'string<))
                  (file (gnus-user-pick files)))
        (rename-file
         file
         (expand-file-name
          (format "cur/%d.moved%d.host:2,%s" (float-time)
                  (cl-incf mailsync-random-reader-test--number)
                  (or (cadr (split-string (file-name-nondirectory file) ":2,")) ""))
          (mailsync-gnus-test--directory to)))))))

(defun mailsync-random-reader-test--folder ()
  "A folder is created elsewhere, with a message in it, or deleted."
  (let* ((name (format "fresh%d" (gnus-user-random 2)))
         (directory (mailsync-gnus-test--directory name))
         (link (expand-file-name (concat "server/" name) mailsync-gnus-test--dir)))
    (if (file-directory-p directory)
        (progn
          (delete-directory directory t)
          (delete-file link))
      (dolist (sub '("tmp" "new" "cur"))
        (make-directory (expand-file-name sub directory) t))
      (when (= 0 (user-uid))            ; as deliver.sh does
        (call-process "chown" nil nil nil "-R"
                      (concat "--reference=" (mailsync-gnus-test--directory "INBOX"))
                      directory))
      (make-symbolic-link directory link t)
      (mailsync-gnus-test--deliver name))))

(defun mailsync-random-reader-test--cut ()
  "The connections to the server die, Gnus's own or mailsync's."
  (let ((processes (cl-remove-if-not
                    (lambda (process)
                      (string-match-p "nnimap" (process-name process)))
                    (process-list))))
    (when processes
      (delete-process (gnus-user-pick processes)))))

(defun mailsync-random-reader-test--others ()
  "Something happens elsewhere, or nothing."
  (let ((what (gnus-user-pick
               '(nil nil nil nil deliver deliver deliver-source
                     flag flag flag expunge move folder cut))))
    (when what
      (mailsync-random-reader-test--count what)
      (mailsync-random-reader-test--note what)
      (funcall (intern (format "mailsync-random-reader-test--%s" what))))))

(defun mailsync-random-reader-test--count (what)
  "Count WHAT."
  (cl-incf (alist-get what mailsync-random-reader-test--tally 0)))

(defun mailsync-random-reader-test--note (&rest what)
  "Note in the log of what was done that WHAT happened elsewhere."
  (push (cons 'others what) gnus-user-log))

;;;; Rest

(defun mailsync-random-reader-test--pause (seconds)
  "The user does nothing for SECONDS."
  (let ((mailsync-random-reader-test--pausing t)
        (end (+ (float-time) seconds)))
    (while (progn (accept-process-output nil 0.005)
                  (< (float-time) end)))))

(defun mailsync-random-reader-test--unread-there (folder)
  "How many unread messages FOLDER has on the disk, or on the server."
  (length (if (eq mailsync-random-reader-test--backend 'nnimap)
              ;; What is flagged is ticked to `nnimap-update-info', and
              ;; so not unread, whether it was seen or not; and what is to
              ;; be expunged (the connection was cut before that) is read.
              (mailsync-random-reader-test--imap-search
               folder "UNSEEN UNFLAGGED UNDELETED")
            (mailsync-gnus-test--unseen folder))))

(defun mailsync-random-reader-test--counts ()
  "What Gnus has and what is there, two lists."
  (list (mapcar (lambda (folder)
                  (fixture-unread (mailsync-gnus-test--group
                                   mailsync-random-reader-test--backend folder)))
                mailsync-random-reader-test--folders)
        (mapcar #'mailsync-random-reader-test--unread-there
                mailsync-random-reader-test--folders)))

(defun mailsync-random-reader-test--resting-p ()
  "Non-nil if nothing waits for a check."
  (let ((status (mailsync-gnus-status)))
    (and (= 0 (plist-get status :pending))
         (= 0 (plist-get status :catch-up))
         (null (plist-get status :asked)))))

(defun mailsync-random-reader-test--explain (folder)
  "What Gnus knows of FOLDER, and what is there, for who looks for the cause."
  (let ((group (mailsync-gnus-test--group mailsync-random-reader-test--backend folder)))
    (format "%s: unread %S info %S active %S there %S" folder
            (gnus-list-of-unread-articles group)
            (gnus-get-info group)
            (gnus-active group)
            (if (eq mailsync-random-reader-test--backend 'nnimap)
                (progn
                  (mailsync-random-reader-test--imap-search folder "ALL")
                  (mailsync-random-reader-test--imap-say "FETCH 1:* (UID FLAGS)"))
              (mapcar (lambda (file)
                        (let ((name (file-name-nondirectory file)))
                          (list (nnmaildir-base-name-to-article-number
                                 (car (split-string name ":")) folder
                                 mailsync-gnus-test--name)
                                name)))
                      (mailsync-gnus-test--files folder))))))

(defun mailsync-random-reader-test--print (&rest fields)
  "Print FIELDS on a line, whatever messages are inhibited."
  (princ (format "%s\n" (mapconcat (lambda (field) (format "%s" field)) fields " "))
         #'external-debugging-output))

(defun mailsync-random-reader-test--report (counts)
  "Say what there is to know when COUNTS are wrong."
  (mailsync-random-reader-test--print "counts" counts)
  (mailsync-random-reader-test--print "did" (seq-take gnus-user-log 40))
  (dolist (folder mailsync-random-reader-test--folders)
    (mailsync-random-reader-test--print (mailsync-random-reader-test--explain folder)))
  (mailsync-random-reader-test--print "status" (mailsync-gnus-status))
  (mailsync-random-reader-test--print "pending" (hash-table-keys mailsync-gnus--pending))
  (mailsync-random-reader-test--print "servers" mailsync-gnus--imap-servers-asked)
  (mailsync-random-reader-test--print "summaries" mailsync-gnus--summaries
                             mailsync-gnus--summary-refusals
                             mailsync-gnus--summary-timer
                             mailsync-gnus--summary-asked)
  (mailsync-random-reader-test--print "claims" (hash-table-keys mailsync-gnus--claims)
                             "unit" (mailsync-gnus--next-unit) "sent" mailsync-gnus--sent
                             mailsync-gnus--running mailsync-gnus--timer (mailsync-gnus--refusal)
                             mailsync-gnus--idle-timer mailsync-gnus--refusals mailsync-gnus--waiting-since)
  (mailsync-random-reader-test--print "log" (seq-take mailsync-random-reader-test--lines 40))
  ;; Was something not told, or told too early?
  (mailsync-check)
  (mailsync-random-reader-test--pause 3)
  (mailsync-random-reader-test--print "after a check of all" (mailsync-random-reader-test--counts)))

(defun mailsync-random-reader-test--compare ()
  "Wait until everything is at rest; then Gnus's counts must be right."
  (let ((end (+ (float-time) 10))
        (good 0)
        counts)
    (while (and (< good 2) (< (float-time) end))
      (mailsync-random-reader-test--pause 0.05)
      (setq counts (mailsync-random-reader-test--counts)
            good (if (and (equal (car counts) (cadr counts))
                          (mailsync-random-reader-test--resting-p))
                     (1+ good)
                   0)))
    (setq mailsync-random-reader-test--since 0)
    (cl-incf mailsync-random-reader-test--compared)
    (unless (= good 2)
      (mailsync-random-reader-test--report counts)
      (ert-fail (list 'counts counts)))
    (should-not mailsync-random-reader-test--errors)))

;;;; A life

(defun mailsync-random-reader-test--between (action)
  "What happens after an ACTION of the user's."
  (setq mailsync-gnus-update-summary (gnus-user-pick '(nil message insert)))
  (mailsync-random-reader-test--others)
  (mailsync-random-reader-test--pause (gnus-user-pick '(0 0 0.005 0.02 0.08)))
  (when (memq action '(leave catchup expire start))
    (when (>= (cl-incf mailsync-random-reader-test--since) 5)
      (mailsync-random-reader-test--compare))))

(defun mailsync-random-reader-test--configure (home name &rest _)
  "Have mail split, in the Gnus in HOME with the servers NAME."
  (if (eq mailsync-random-reader-test--backend 'nnimap)
      (setcdr (last (assq 'nnimap gnus-secondary-select-methods))
              '((nnimap-inbox "INBOX")
                (nnimap-split-methods (("folder001" "^Subject: split")
                                       ("INBOX" "")))))
    (let ((source (expand-file-name "source" mailsync-gnus-test--dir)))
      (dolist (sub '("tmp" "new" "cur"))
        (make-directory (expand-file-name sub source) t))
      (setq mail-sources `((maildir :path ,source :subdirs ("new")))
            nnmail-split-methods '(("folder001" "^Subject: split")
                                   ("INBOX" "")))
      (setf (alist-get 'get-new-mail
                       (cddr (assq 'nnmaildir gnus-secondary-select-methods)))
            '(t))))
  (ignore home name)
  ;; As users do it, before Gnus is started.
  (setq mailsync-accounts (mailsync-random-reader-test--accounts))
  (mailsync-mode 1))

(defun mailsync-random-reader-test--log (level format &rest args)
  "Keep what is logged with FORMAT and ARGS if LEVEL is that of an error."
  (let ((text (apply #'format format args)))
    (push text mailsync-random-reader-test--lines)
    ;; The user is told that a folder is gone, or a connection.
    (when (and (eq level 'error) (not (string-match-p "fresh[01]\\|no answer from" text)))
      (push text mailsync-random-reader-test--errors))))

(defun mailsync-random-reader-test--act (function &rest args)
  "Call FUNCTION, a user's action, with ARGS.
What he wants to act on may be gone by now, and Gnus tells him so."
  (condition-case err
      (apply function args)
    (error (mailsync-random-reader-test--count
            (car (split-string (error-message-string err) "[/*]"))))))

(defun mailsync-random-reader-test--insist (function &rest args)
  "Call FUNCTION, by which the user leaves a group, with ARGS, until it works.
nnimap expunges then, and opens no connection for that if its own is
dead.  nnmaildir does not find the file of a message that another
client has moved or flagged just now; a check later it does."
  (let ((tries 5))
    (while (condition-case err
               (progn (apply function args) nil)
             (error
              (mailsync-random-reader-test--count
               (car (split-string (error-message-string err) "[/*]")))
              (when (= 0 (cl-decf tries))
                (signal (car err) (cdr err)))
              (mailsync-random-reader-test--pause 0.3)
              (when (eq mailsync-random-reader-test--backend 'nnimap)
                (gnus-check-group (or gnus-newsgroup-name (car args))))
              t)))))

(defmacro mailsync-random-reader-test--with-advice (advices &rest body)
  "Evaluate BODY with ADVICES, a list of (FUNCTION HOW ADVICE)."
  (declare (indent 1))
  `(unwind-protect
       (progn
         ,@(mapcar (lambda (it) `(advice-add ',(car it) ,(nth 1 it) #',(nth 2 it)))
                   advices)
         ,@body)
     ,@(mapcar (lambda (it) `(advice-remove ',(car it) #',(nth 2 it)))
               advices)))

(defun mailsync-random-reader-test--accounts ()
  "The accounts of this life."
  `(("home" :maildir ,(expand-file-name "mail" mailsync-gnus-test--dir))
    ,@(when (eq mailsync-random-reader-test--backend 'nnmaildir)
        `(("source" :maildir ,(expand-file-name "source" mailsync-gnus-test--dir))))))

(defun mailsync-random-reader-test--live (backend rounds seed)
  "Live with BACKEND for so many ROUNDS, from SEED."
  (let ((mailsync-random-reader-test--backend backend)
        (mailsync-random-reader-test--tally nil)
        (mailsync-random-reader-test--errors nil)
        (mailsync-random-reader-test--lines nil)
        (mailsync-random-reader-test--since 0)
        (mailsync-random-reader-test--compared 0)
        (mailsync-random-reader-test--imap nil)
        (mailsync-gnus-update-summary nil)
        (mailsync-gnus-subscribe-new t)
        (mailsync-coalesce-delay 0.02)
        (mailsync-accounts nil)
        (nnmail-split-methods nil)
        (began (float-time)))
    (mailsync-random-reader-test--with-advice
        ((fixture-configure :after mailsync-random-reader-test--configure)
         (mailsync-log-add :before mailsync-random-reader-test--log)
         (gnus-user-act :around mailsync-random-reader-test--act)
         (gnus-summary-exit :around mailsync-random-reader-test--insist)
         (gnus-group-catchup :around mailsync-random-reader-test--insist)
         (gnus-group-expire-articles-1 :around mailsync-random-reader-test--insist))
      (mailsync-gnus-test--with (list backend) mailsync-random-reader-test--folders
        (cl-letf (((symbol-function 'mailsync-gnus--clean-stack-p)
                   ;; Our own functions look like Gnus's.
                   (lambda () mailsync-random-reader-test--pausing)))
          (setq mailsync-gnus-catch-up-delay 0)
          (unwind-protect
              (progn
                (mailsync-random-reader-test--compare)
                (gnus-user-run rounds seed
                               (mapcar (lambda (folder)
                                         (mailsync-gnus-test--group backend folder))
                                       mailsync-random-reader-test--folders)
                               #'mailsync-random-reader-test--between)
                (mailsync-random-reader-test--compare)
                (mailsync-random-reader-test--pause 1)
                (mailsync-random-reader-test--compare))
            (mailsync-mode -1)
            ;; Gnus would ask what to do with them.
            (dolist (buffer (buffer-list))
              (when (eq (buffer-local-value 'major-mode buffer)
                        'gnus-summary-mode)
                (kill-buffer buffer)))
            (mailsync-random-reader-test--print
             backend "seed" seed "rounds" rounds
             "seconds" (round (- (float-time) began))
             "compared" mailsync-random-reader-test--compared mailsync-random-reader-test--tally)
            (when (process-live-p mailsync-random-reader-test--imap)
              (delete-process mailsync-random-reader-test--imap))))))
    (should (>= mailsync-random-reader-test--compared (/ rounds 10)))))

(ert-deftest mailsync-random-reader-test-nnmaildir ()
  "Counts of nnmaildir are right whatever happens."
  (mailsync-random-reader-test--live 'nnmaildir
                            (mailsync-gnus-test--number-from "ROUNDS" 25)
                            (mailsync-gnus-test--number-from "SEED" 1)))

(ert-deftest mailsync-random-reader-test-nnimap ()
  "Counts of nnimap are right whatever happens."
  (mailsync-random-reader-test--live 'nnimap
                            (mailsync-gnus-test--number-from "ROUNDS" 25)
                            (mailsync-gnus-test--number-from "SEED" 1)))

(provide 'mailsync-random-reader-test)
;;; mailsync-random-reader-test.el ends here
